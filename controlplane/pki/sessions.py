"""Who shows a certificate, and whether that one stands: of the control plane, and of a relay, which knows the same by its stream.

What is trusted are certificates that an intermediate of ours has signed: a root that stands beside ours may have signed others.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from controlplane.clock import Clock
from controlplane.intent import NodeSession
from controlplane.pki import x509
from controlplane.pki.authorities import Authority
from controlplane.pki.spiffe import is_relay, node_of, relay_of
from controlplane.store.enrolment import holder_key
from federation.errors import CausewayError, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey

MOST_READ = 20_000
"""Certificates whose reading is remembered."""
JOIN_AGAIN = "make a join token, and run `causeway join` on the node again"


class Known(Protocol):
    """The authorities whose certificates are looked at."""

    @property
    def all(self) -> tuple[Authority, ...]:
        """Those that are trusted now."""
        ...


class Sessions:
    """`standing` gives a document as it is known here, `catch_up` brings what is known up to date or raises Unavailable."""

    def __init__(
        self, known: Known, standing: Callable[[ObjectKey], Mapping[str, Any] | None], catch_up: Callable[[], Awaitable[None]], clock: Clock
    ) -> None:  # fmt: skip
        self._known = known
        self._standing = standing
        self._catch_up = catch_up
        self._clock = clock
        self._read: OrderedDict[bytes, tuple[x509.Facts, str]] = OrderedDict()

    async def session_of(self, certificate: str) -> NodeSession:
        """Who shows a certificate. Raises Unauthenticated."""
        _, session = self.read(certificate)
        await self.must_stand(session)
        return session

    def read(self, certificate: str) -> tuple[x509.Facts, NodeSession]:
        """What a certificate of ours says, and of whom; whether that one stands is another question. Raises Unauthenticated."""
        facts, authority = self._facts(certificate)
        if len(facts.uris) != 1 or not facts.enrolment:
            raise Unauthenticated("the certificate is no node's")
        (uri,), node, relay = facts.uris, "", ""
        if is_relay(uri):
            cluster, relay = relay_of(uri, authority.domain)
        else:
            cluster, node = node_of(uri, authority.domain)
        session = NodeSession(
            cluster=cluster,
            node=node,
            relay=relay,
            serial=facts.serial,
            enrolment=facts.enrolment,
            until=facts.not_after,
        )
        return facts, session

    async def must_stand(self, session: NodeSession) -> None:
        """That a session is still good; what is known is brought up to date only when it says otherwise. Raises Unauthenticated."""
        if self.is_good(session):
            return
        with suppress(Unavailable):  # what is known holds while nobody knows better
            await self._catch_up()
        if not self.is_good(session):
            name = f"{session.cluster}/{session.node or session.relay}"
            what = "node" if session.node else "relay"
            said = f"the certificate of {name} is void: the {what} was deleted, revoked, or has joined anew"
            raise Unauthenticated(said, hint=JOIN_AGAIN)

    def is_good(self, session: NodeSession) -> bool:
        """Whether its holder stands, as it is known here, and its certificates are of the session's enrolment. A session without a
        certificate is good while its node stands."""
        document = self._standing(holder_key(session))
        if document is None:
            return False
        return not session.serial or document.get("status", {}).get("enrolment") == session.enrolment

    def has_expired(self, session: NodeSession) -> bool:
        """Whether the certificate's time is over: a connection may outlive it."""
        return session.until is not None and session.until <= self._clock.now()

    def _facts(self, certificate: str) -> tuple[x509.Facts, Authority]:
        """What a certificate says, and which of our authorities signed it."""
        digest = hashlib.sha256(certificate.encode()).digest()
        known = self._read.get(digest)
        standing = {authority.id: authority for authority in self._known.all}
        if known and known[1] in standing:
            return known[0], standing[known[1]]
        try:
            facts = x509.facts_of(certificate)
            authority = issuer_of(self._known.all, facts, certificate)
        except CausewayError as error:
            raise Unauthenticated(f"the certificate is no node's: {error.message}") from error
        if authority is None:
            raise Unauthenticated("the certificate was not issued by this control plane", hint=JOIN_AGAIN)
        self._read[digest] = facts, authority.id
        while len(self._read) > MOST_READ:
            self._read.popitem(last=False)
        return facts, authority


def issuer_of(authorities: tuple[Authority, ...], facts: x509.Facts, certificate: str) -> Authority | None:
    """Whose key has signed a leaf."""
    for authority in authorities:
        named = x509.key_identifier(authority.intermediate) == facts.authority_key
        if named and x509.is_issued_by(certificate, authority.intermediate):
            return authority
    return None
