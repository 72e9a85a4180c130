"""The stream of an agent, for as long as it is who it was; and what it is to trust, as soon as that changes."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from controlplane.intent import NodeSession
from controlplane.pki.certificates import Certificates
from federation import wire


async def while_good(certificates: Certificates, session: NodeSession, source: Any, held: str | None) -> AsyncIterator[bytes]:  # fmt: skip
    """The chunks of `source`, none after the node was deleted or revoked, or its certificate has ended: each is looked at before it goes, and the
    change that voids a node wakes its stream. `held` is what the agent trusts (digest, ':', authority of its certificate); None: it is not told."""
    async with aclosing(source) as chunks:
        async for chunk in chunks:
            if not certificates.is_good(session) or certificates.has_expired(session):
                return
            if held is not None and certificates.authorities.all:
                trust = certificates.authorities.trust
                if held != (now := f"{trust.digest}:{trust.issuing}"):
                    held = now
                    yield wire.encode(wire.Trust(trust.bundle, trust.issuing))
            yield chunk
