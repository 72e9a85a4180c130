"""Certificates of nodes: given for a join token or a standing certificate, looked at with every request, void at once when the node is.

A certificate belongs to one enrolment of its node (subject's serialNumber), and is good while the Node says that it is of this one. Nodes come by the
change log to every replica's memory: so does a revocation, it holds while the database is away, and no list of revoked certificates is kept.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network
from typing import Any, Protocol

from controlplane.access.actor import Actor, joiner, node_actor
from controlplane.clock import Clock
from controlplane.feed import Feed
from controlplane.intent import JoinRequest, NodeSession
from controlplane.pki import x509
from controlplane.pki.authorities import Authorities
from controlplane.pki.sessions import JOIN_AGAIN, Sessions
from controlplane.pki.spiffe import node_id, relay_id
from controlplane.store import enrolment, pki, queries
from controlplane.store.access import audit
from controlplane.store.database import Connection, Database
from controlplane.store.unit_of_work import UnitOfWork
from federation.access.rights import Right
from federation.access.scopes import Place
from federation.audit import Deed
from federation.errors import Forbidden, NotFound, Unauthenticated
from federation.resources.metadata import ObjectKey


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

    def __call__(self, actor: Actor, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Awaitable[Any]:
        """One transaction, one revision, in the feed before it returns."""
        ...


class Certificates:
    """Of one replica. Without TLS its authorities are never opened, and it has none to give."""

    def __init__(self, database: Database, feed: Feed, clock: Clock, lives: Lives, commit: Commit) -> None:
        self.authorities = Authorities(database)
        self.sessions = Sessions(self.authorities, feed.standing, feed.catch_up, clock)
        self.lives = lives
        self._database = database
        self._feed = feed
        self._clock = clock
        self._commit = commit

    async def join(self, request: JoinRequest, csr: str) -> Issued:
        """Enrol a node, or let a relay in, by its join token; what it had before is void. Raises Unauthenticated, Forbidden, InvalidInput, NotFound,
        Conflict, Overlap."""
        x509.key_of_request(csr)  # before anything is spent

        async def work(unit: UnitOfWork) -> Issued:
            token = await enrolment.spend_join_token(unit.connection, request, self._clock.now())
            session = NodeSession(cluster=request.cluster, node=request.node, enrolment=_new_enrolment())
            unit.did("jointoken.use", token)
            if request.role == "relay":
                session = replace(session, node="", relay=request.node)
                await enrolment.enrol_relay(unit, request, session.enrolment)
            else:
                await enrolment.enrol(unit, request, self.lives.tunnel_prefix, session.enrolment)
            issued, deed = await self._issue(unit.connection, session, csr, (unit.actor, "issue"))
            unit.deeds.append(deed)
            return issued

        found: Issued = await self._commit(joiner(request.cluster, request.node, request.source), work)
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
            issued, deed = await self._issue(unit.connection, fresh, csr, (unit.actor, "exchange"))
            unit.deeds.append(deed)
            return issued

        found: Issued = await self._commit(node_actor(session.cluster, session.node), work)
        return found

    async def renew(self, session: NodeSession, csr: str, proof: str = "") -> Issued:
        """A new certificate for who has a good one. A relay that asks on behalf of a node needs a proof of the node's: with relays' word alone, who
        holds one could have certificates of every node. Raises Unauthenticated, Forbidden, InvalidInput, Unavailable."""
        if session.node and session.relay:
            await self._must_be_vouched(session, csr, proof)
        return await self._again(session, csr, "renew")

    async def recover(self, certificate: str, csr: str) -> Issued:
        """A new certificate for one that has expired, within the grace period, asked for by the same key. Raises Unauthenticated, Forbidden,
        InvalidInput, Unavailable."""
        facts, session = self.sessions.read(certificate)
        if facts.key_hash != x509.request_key_hash(csr):
            raise Forbidden("the request is not by the key of the certificate that has expired")
        if facts.not_after + self.lives.grace < self._clock.now():
            said = f"the certificate expired at {facts.not_after}, more than {self.lives.grace} ago"
            raise Unauthenticated(said, hint=JOIN_AGAIN)
        await self.sessions.must_stand(session)
        return await self._again(session, csr, "recover")

    async def revoke(self, cluster: str, node: str, *, actor: Actor) -> None:
        """Void everything that a node has to show, at once; it has to join again. Raises NotFound, Forbidden."""
        key = ObjectKey("Node", cluster, "", node)
        actor.must(Right.NETWORK, Place(cluster=cluster), f"revoke {key}")

        async def work(unit: UnitOfWork) -> None:
            standing = await unit.find(key)
            if standing is None:
                raise NotFound(f"{key} does not exist")
            await enrolment.drop_node_credential(unit.connection, cluster, node)
            await unit.write(replace(standing, status=replace(standing.status, enrolment="")))
            unit.did("certificate.revoke", f"{cluster}/{node}")

        await self._commit(actor, work)

    async def session_of(self, certificate: str) -> NodeSession:
        """Who shows a certificate whose chain TLS has verified up to a root of ours. Raises Unauthenticated."""
        return await self.sessions.session_of(certificate)

    def is_good(self, session: NodeSession) -> bool:
        """As `Sessions.is_good`."""
        return self.sessions.is_good(session)

    def has_expired(self, session: NodeSession) -> bool:
        """As `Sessions.has_expired`."""
        return self.sessions.has_expired(session)

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
        for key, current in self._feed.enrolments():
            row = newest.get((key.cluster, key.name, current)) if current else None
            holding = Holding(
                node=f"{key.cluster}/{key.name}" + (" (relay)" if key.kind == "Relay" else ""),
                authority=row.authority if row else "",
                not_after=row.not_after if row else "",
                trusts=row is not None and row.trust == today,
            )
            found.append(holding)
        return tuple(found)

    async def tell(self, action: str, subject: str, actor: Actor) -> None:
        """Tell the audit log of what was done to the authorities."""
        async with self._database.transaction() as connection:
            await audit.append(connection, [actor.did(self._clock.now().isoformat(), action, subject)])

    async def _must_be_vouched(self, session: NodeSession, csr: str, proof: str) -> None:
        async with self._database.reading() as connection:
            row = await pki.find_certificate(connection, session.serial)
        if row is None or not proof or not x509.is_vouched(csr, proof, row.key_hash):
            raise Forbidden(
                f"the request is not vouched for by the key that {session.cluster}/{session.node} has now",
                hint="is the agent of an older release? let it ask the control plane itself, or upgrade it",
            )

    async def _names_of(self, connection: Connection, session: NodeSession) -> tuple[str, ...]:
        relay = await queries.find(connection, enrolment.holder_key(session))
        if relay is None:
            raise Unauthenticated(f"relay {session.cluster}/{session.relay} was deleted", hint=JOIN_AGAIN)
        names: tuple[str, ...] = relay.spec.names
        return names

    async def _again(self, session: NodeSession, csr: str, action: str) -> Issued:
        x509.key_of_request(csr)
        async with self._database.transaction() as connection:
            by = node_actor(session.cluster, session.node or session.relay)
            issued, deed = await self._issue(connection, session, csr, (by, action))
            await audit.append(connection, [deed])
            return issued

    async def _issue(self, connection: Connection, session: NodeSession, csr: str, by: tuple[Actor, str]) -> tuple[Issued, Deed]:  # fmt: skip
        authority, now = self.authorities.issuing, self._clock.now()
        who = session.node or session.relay
        if session.node:
            uri = node_id(authority.domain, session.cluster, session.node)
            leaf = x509.sign_node(authority.issuer, csr, uri, session.enrolment, now, self.lives.life)
        else:
            said = relay_id(authority.domain, session.cluster, who), await self._names_of(connection, session)
            leaf = x509.sign_relay(authority.issuer, csr, said, session.enrolment, now, self.lives.life)
        facts, trust = x509.facts_of(leaf), self.authorities.trust
        await pki.record(
            connection,
            pki.CertificateRow(
                serial=facts.serial,
                cluster=session.cluster,
                node=who,
                enrolment=session.enrolment,
                authority=authority.id,
                key_hash=facts.key_hash,
                not_after=facts.not_after.isoformat(),
                issued=now.isoformat(),
                trust=trust.digest,
            ),
        )
        actor, action = by
        deed = actor.did(now.isoformat(), f"certificate.{action}", f"{session.cluster}/{who} {facts.serial}")
        issued = Issued(
            chain=leaf + authority.intermediate,
            serial=facts.serial,
            not_before=facts.not_before,
            not_after=facts.not_after,
            issued=now,
            bundle=trust.bundle,
            issuer=authority.id,
        )
        return issued, deed


def _new_enrolment() -> str:
    return secrets.token_hex(8)
