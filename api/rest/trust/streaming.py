"""The stream of an agent, for as long as it is who it was; and what it is to trust, as soon as that changes."""

from controlplane.intent import NodeSession
from controlplane.pki.certificates import Certificates
from federation import wire


class WhileGood:
    """What goes before each part of a stream; None: nothing any more, the node was deleted or revoked, or its certificate has ended. The change that
    voids a node wakes its stream. `held` is what the agent trusts (digest, ':', authority of its certificate); None: it is not told."""

    def __init__(self, certificates: Certificates, session: NodeSession, held: str | None) -> None:
        self._certificates = certificates
        self._session = session
        self._held = held

    def __call__(self) -> bytes | None:
        """Nothing, or a line about trust."""
        certificates = self._certificates
        if not certificates.is_good(self._session) or certificates.has_expired(self._session):
            return None
        if self._held is None or not certificates.authorities.all:
            return b""
        trust = certificates.authorities.trust
        now = f"{trust.digest}:{trust.issuing}"
        if self._held == now:
            return b""
        self._held = now
        return wire.encode(wire.Trust(trust.bundle, trust.issuing))
