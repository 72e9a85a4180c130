"""Certificates of nodes: given for a join token or a standing certificate, looked at with every request, void at once when the node is.

A certificate belongs to one enrolment of its node (subject's serialNumber), and is good while the Node says that it is of this one. Nodes come by the
change log to every replica's memory: so does a revocation, it holds while the database is away, and no list of revoked certificates is kept.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network
from typing import Any, Protocol

from controlplane.clock import Clock
from controlplane.feed import Feed
from controlplane.intent import JoinRequest, NodeSession
from controlplane.pki import x509
from controlplane.pki.authorities import Authorities, Authority
from controlplane.pki.spiffe import node_id, node_of
from controlplane.store import enrolment, pki
from controlplane.store.database import Connection, Database
from controlplane.store.unit_of_work import UnitOfWork
from federation.errors import CausewayError, Forbidden, NotFound, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey

MOST_READ = 20_000
"""Certificates whose reading is remembered."""
JOIN_AGAIN = "make a join token, and run `causeway join` on the node again"


@dataclass(frozen=True, slots=True)
class Lives:
    """How long certificates of nodes live, and how long after that they may come back; where tunnel addresses come from."""

    life: timedelta
    grace: timedelta
    tunnel_prefix: IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a node is given."""

    chain: str
    """PEM: its certificate, the intermediate."""
    serial: str
    not_before: datetime
    not_after: datetime
    issued: datetime
    """By the control plane's clock."""
    bundle: str
    """PEM: the roots to trust."""
    issuer: str
    """Id of the authority that signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a node has, as far as a rotation is concerned."""

    node: str
    authority: str
    """That its newest certificate is of; empty: it has none."""
    not_after: str
    trusts: bool
    """It has today's trust bundle."""


class Commit(Protocol):
    """`ControlPlane`'s way to carry out a command."""

    def __call__(self, actor: str, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Awaitable[Any]:
        """One transaction, one revision, in the feed before it returns."""
        ...


class Audit(Protocol):
    """Who is to know of what was given and taken, within the transaction that does it."""

    def __call__(self, connection: Connection, action: str, subject: str, actor: str) -> Awaitable[None]:
        """`action`: certificate.issue, certificate.renew, certificate.recover, certificate.exchange, certificate.revoke, ca.prepare, ca.issue, ca.drop."""
        ...


async def _nobody(connection: Connection, action: str, subject: str, actor: str) -> None:
    """Nobody keeps an audit log yet."""


class Certificates:
    """Of one replica. Without TLS its authorities are never opened, and it has none to give."""

    def __init__(self, database: Database, feed: Feed, clock: Clock, lives: Lives, commit: Commit) -> None:
        self.authorities = Authorities(database)
        self.lives = lives
        self.audit: Audit = _nobody
        self._database = database
        self._feed = feed
        self._clock = clock
        self._commit = commit
        self._read: OrderedDict[bytes, tuple[x509.Facts, str]] = OrderedDict()

    async def join(self, request: JoinRequest, csr: str) -> Issued:
        """Enrol a node by its join token; what it had before is void. Raises Unauthenticated, Forbidden, InvalidInput, Conflict, Overlap."""
        x509.key_of_request(csr)  # before anything is spent
        actor = f"join {request.cluster}/{request.node}"

        async def work(unit: UnitOfWork) -> Issued:
            token = await enrolment.spend_join_token(unit.connection, request, self._clock.now())
            session = NodeSession(cluster=request.cluster, node=request.node, enrolment=_new_enrolment())
            await enrolment.enrol(unit, request, self.lives.tunnel_prefix, session.enrolment)
            return await self._issue(unit.connection, session, csr, ("issue", f"token {token}"))

        found: Issued = await self._commit(actor, work)
        return found

    async def exchange(self, session: NodeSession, csr: str) -> Issued:
        """A certificate for a credential of before there was TLS, which is void then. Raises Unauthenticated, InvalidInput."""

        async def work(unit: UnitOfWork) -> Issued:
            node = await unit.find(enrolment.node_key(session))
            if node is None:
                raise Unauthenticated(f"node {session.cluster}/{session.node} was deleted", hint=JOIN_AGAIN)
            fresh = replace(session, enrolment=_new_enrolment())
            await unit.write(replace(node, status=replace(node.status, enrolment=fresh.enrolment)))
            await enrolment.drop_node_credential(unit.connection, session.cluster, session.node)
            return await self._issue(unit.connection, fresh, csr, ("exchange", "its credential"))

        found: Issued = await self._commit(f"node {session.cluster}/{session.node}", work)
        return found

    async def renew(self, session: NodeSession, csr: str) -> Issued:
        """A new certificate for who has a good one. Raises Unauthenticated, InvalidInput, Unavailable."""
        return await self._again(session, csr, "renew")

    async def recover(self, certificate: str, csr: str) -> Issued:
        """A new certificate for one that has expired, within the grace period, asked for by the same key. Raises Unauthenticated, Forbidden,
        InvalidInput, Unavailable."""
        facts, authority = self._facts(certificate)
        session = self._session(facts, authority)
        if facts.key_hash != x509.request_key_hash(csr):
            raise Forbidden("the request is not by the key of the certificate that has expired")
        if facts.not_after + self.lives.grace < self._clock.now():
            said = f"the certificate expired at {facts.not_after}, more than {self.lives.grace} ago"
            raise Unauthenticated(said, hint=JOIN_AGAIN)
        await self.must_stand(session)
        return await self._again(session, csr, "recover")

    async def revoke(self, cluster: str, node: str, *, actor: str) -> None:
        """Void everything that a node has to show, at once; it has to join again. Raises NotFound."""
        key = ObjectKey("Node", cluster, "", node)

        async def work(unit: UnitOfWork) -> None:
            standing = await unit.find(key)
            if standing is None:
                raise NotFound(f"{key} does not exist")
            await enrolment.drop_node_credential(unit.connection, cluster, node)
            await unit.write(replace(standing, status=replace(standing.status, enrolment="")))
            await self.audit(unit.connection, "certificate.revoke", f"{cluster}/{node}", actor)

        await self._commit(actor, work)

    async def session_of(self, certificate: str) -> NodeSession:
        """Who shows a certificate whose chain TLS has verified up to a root of ours. Raises Unauthenticated."""
        facts, authority = self._facts(certificate)
        session = self._session(facts, authority)
        await self.must_stand(session)
        return session

    async def must_stand(self, session: NodeSession) -> None:
        """That a session is still good; asks the database only when memory says that it is not. Raises Unauthenticated."""
        if self.is_good(session):
            return
        with suppress(Unavailable):  # what is known holds while the database is away
            await self._feed.catch_up()
        if not self.is_good(session):
            said = f"the certificate of {session.cluster}/{session.node} is void: the node was deleted, revoked, or has joined anew"
            raise Unauthenticated(said, hint=JOIN_AGAIN)

    def is_good(self, session: NodeSession) -> bool:
        """Whether the node stands, as this replica knows it, and its certificates are of the session's enrolment. A session without a
        certificate is good while its node stands."""
        document = self._feed.standing(enrolment.node_key(session))
        if document is None:
            return False
        return not session.serial or document.get("status", {}).get("enrolment") == session.enrolment

    def has_expired(self, session: NodeSession) -> bool:
        """Whether the certificate's time is over: a connection may outlive it."""
        return session.until is not None and session.until <= self._clock.now()

    async def confirm(self, session: NodeSession, digest: str) -> None:
        """A node has a trust bundle. Raises Unavailable."""
        async with self._database.transaction() as connection:
            await pki.note_trust(connection, session.serial, digest)

    async def holdings(self) -> tuple[Holding, ...]:
        """What every enrolled node has. Raises Unavailable."""
        async with self._database.reading() as connection:
            newest = await pki.newest_certificates(connection)
        today = self.authorities.trust.digest
        found = []
        for cluster, node, current in self._feed.enrolments():
            row = newest.get((cluster, node, current)) if current else None
            holding = Holding(
                node=f"{cluster}/{node}",
                authority=row.authority if row else "",
                not_after=row.not_after if row else "",
                trusts=row is not None and row.trust == today,
            )
            found.append(holding)
        return tuple(found)

    async def tell(self, action: str, subject: str, actor: str) -> None:
        """Tell the audit log of what was done to the authorities."""
        async with self._database.transaction() as connection:
            await self.audit(connection, action, subject, actor)

    async def _again(self, session: NodeSession, csr: str, action: str) -> Issued:
        x509.key_of_request(csr)
        async with self._database.transaction() as connection:
            return await self._issue(connection, session, csr, (action, "its certificate"))

    async def _issue(self, connection: Connection, session: NodeSession, csr: str, why: tuple[str, str]) -> Issued:  # fmt: skip
        authority, now = self.authorities.issuing, self._clock.now()
        name = f"{session.cluster}/{session.node}"
        uri = node_id(authority.domain, session.cluster, session.node)
        leaf = x509.sign_node(authority.issuer, csr, uri, session.enrolment, now, self.lives.life)
        facts, trust = x509.facts_of(leaf), self.authorities.trust
        await pki.record(
            connection,
            pki.CertificateRow(
                serial=facts.serial,
                cluster=session.cluster,
                node=session.node,
                enrolment=session.enrolment,
                authority=authority.id,
                key_hash=facts.key_hash,
                not_after=facts.not_after.isoformat(),
                issued=now.isoformat(),
                trust=trust.digest,
            ),
        )
        action, by = why
        await self.audit(connection, f"certificate.{action}", name, by)
        return Issued(
            chain=leaf + authority.intermediate,
            serial=facts.serial,
            not_before=facts.not_before,
            not_after=facts.not_after,
            issued=now,
            bundle=trust.bundle,
            issuer=authority.id,
        )

    def _facts(self, certificate: str) -> tuple[x509.Facts, Authority]:
        """What a certificate says, and which of our authorities signed it: a root of a customer's may have signed others, too."""
        digest = hashlib.sha256(certificate.encode()).digest()
        known = self._read.get(digest)
        standing = {authority.id: authority for authority in self.authorities.all}
        if known and known[1] in standing:
            return known[0], standing[known[1]]
        try:
            facts = x509.facts_of(certificate)
            authority = self.authorities.issuer_of(facts, certificate)
        except CausewayError as error:
            raise Unauthenticated(f"the certificate is no node's: {error.message}") from error
        if authority is None:
            raise Unauthenticated("the certificate was not issued by this control plane", hint=JOIN_AGAIN)
        self._read[digest] = facts, authority.id
        while len(self._read) > MOST_READ:
            self._read.popitem(last=False)
        return facts, authority

    def _session(self, facts: x509.Facts, authority: Authority) -> NodeSession:
        if len(facts.uris) != 1 or not facts.enrolment:
            raise Unauthenticated("the certificate is no node's")
        cluster, node = node_of(facts.uris[0], authority.domain)
        return NodeSession(
            cluster=cluster,
            node=node,
            serial=facts.serial,
            enrolment=facts.enrolment,
            until=facts.not_after,
        )


def _new_enrolment() -> str:
    return secrets.token_hex(8)
