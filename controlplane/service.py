"""The control plane: every command one transaction, one revision, in the change feed before it returns."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any, TypeVar

from controlplane import commands, reading
from controlplane.access.actor import PROCESS, Actor, joiner, node_actor
from controlplane.access.bindings import Bindings
from controlplane.access.credentials import LOOK_SECONDS, Access
from controlplane.access.oidc import OidcSettings
from controlplane.clock import SharedClock
from controlplane.duties import Duties
from controlplane.fanout.sight import POLICIES, Sight
from controlplane.fanout.streams import Before, Fanout, nothing
from controlplane.feed import Feed
from controlplane.gathering import Gathering
from controlplane.hub import Held, Hub
from controlplane.intent import (
    Applied,
    Change,
    JoinRequest,
    JoinToken,
    ListQuery,
    NodeReport,
    NodeSession,
    Outcome,
    Page,
    RequestKey,
    Rollout,
    RuleCount,
    TokenBounds,
)
from controlplane.invariants import approved, must_be_approved
from controlplane.pki.certificates import Certificates, Lives
from controlplane.store import enrolment, queries, requests
from controlplane.store.access import audit
from controlplane.store.counts import Told, counts_of, store_counts
from controlplane.store.database import Connection, Database, current_revision, next_number, notify
from controlplane.store.unit_of_work import UnitOfWork
from federation.access.rights import Right
from federation.access.scopes import Place
from federation.errors import Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable
from federation.kinds.node import WireguardSpec
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource, ObjectKey

T = TypeVar("T")
REPORT_SECONDS = 0.5
"""How late this replica may learn of a report that another one took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the intent lives, and where tunnel addresses come from."""

    database_url: str
    """SQLAlchemy's: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`."""
    tunnel_prefix: IPv4Network = field(default=IPv4Network("100.64.0.0/10"))
    certificate_life: timedelta = timedelta(hours=12)
    """Of nodes."""
    certificate_grace: timedelta = timedelta(days=14)
    """How long after its end a certificate's key may ask for a new one, unless the node was revoked."""
    needs_approval: bool = False
    """A new cluster, or other prefixes of one, wait for a second person."""
    oidc: OidcSettings | None = None
    """Whose tokens are taken, beside API tokens; None: nobody's."""


class _RolledBackError(Exception):
    """Leaves a transaction without its effects; carries what it would have done."""

    def __init__(self, applied: Applied) -> None:
        self.applied = applied


class ControlPlane:
    """Implements Intent, Enrolment and AgentService of `controlplane.intent`."""

    def __init__(self, settings: Settings, clock: SharedClock) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database_url)
        self.hub = Hub()
        self.fanout = Fanout(self.hub)
        self.feed = Feed(self.database, self.hub, clock)
        self.duties = Duties(self.database, clock)
        lives = Lives(settings.certificate_life, settings.certificate_grace, settings.tunnel_prefix)
        self.certificates = Certificates(self.database, self.feed, clock, lives, self._work)
        self.access = Access(self.database, self.feed, clock, Bindings(self.hub), settings.oidc)
        self._reports: dict[tuple[str, str], tuple[int, str]] = {}
        self._reported = asyncio.Condition()
        self._told = Gathering(self._keep_reports)
        self._counted = Gathering(self._keep_counts)
        self._committed: dict[int, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, clock: SharedClock) -> "AsyncIterator[ControlPlane]":
        """Bring the schema up to date, load what stands, follow the log until the end of the block."""
        plane = cls(settings, clock)
        try:
            await plane.database.upgrade()
            await plane.feed.load()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(plane.feed.follow(), name="follow the change log"),
                    group.create_task(plane.fanout.go_on(), name="signs of life"),
                    group.create_task(plane.duties.go_on(), name="duties"),
                    group.create_task(plane._told.go_on(), name="reports"),
                    group.create_task(plane._counted.go_on(), name="counts"),
                ]
                try:
                    yield plane
                finally:
                    for task in tasks:
                        task.cancel()
            await plane.duties.end()
        finally:
            await plane.database.close()

    async def get(self, key: ObjectKey, actor: Actor = PROCESS) -> AnyResource:
        """One resource. Raises NotFound, also for what the actor may not see."""
        await self._look(with_reports=key.kind == "Node")
        found = self.hub.objects.get(key)
        if found is None or found.document is None or not actor.sees(found.document):
            raise NotFound(f"{key} does not exist")
        document = reading.told(found.document, key, self._reports)
        if key.kind in POLICIES:
            document = await self._with_enforcement(found, document, actor)
        return decode(document, is_trusted=True)

    async def list(self, query: ListQuery, actor: Actor = PROCESS) -> Page:
        """A page of the resources of one kind that the actor may see."""
        await self._look(with_reports=query.kind == "Node")
        sees = None if actor.is_unbounded(Right.READ) else actor.sees
        return reading.page(self.hub, query, self._reports, sees)

    async def change(
        self,
        changes: Sequence[Change],
        *,
        actor: Actor,
        is_dry_run: bool = False,
        request: RequestKey | None = None,
    ) -> Applied:
        """All changes in one transaction, or none. A request that was carried out before is not again: its outcome is given once more."""

        async def work(unit: UnitOfWork) -> Applied:
            if (
                request
                and not is_dry_run
                and (before := await requests.replayed(unit.connection, actor.name, request))
            ):
                commands.must_see(actor, before)
                raise _RolledBackError(before)
            await unit.look_up(key for change in changes for key in commands.touched(change))
            order = sorted(range(len(changes)), key=lambda i: commands.execution_order(changes[i]))
            done: dict[int, Outcome] = {i: await commands.execute(unit, changes[i]) for i in order}
            applied = Applied(revision=unit.revision, outcomes=tuple(done[i] for i in range(len(changes))))
            if is_dry_run or not unit.written:
                raise _RolledBackError(replace(applied, revision=unit.revision - 1))
            if request:
                await requests.remember(unit, request, applied)
            return applied

        try:
            return await self._work(actor, work)
        except _RolledBackError as rolled_back:
            return rolled_back.applied
        except Conflict as error:
            raise commands.discreet(error, actor) from error

    def watch(self, kind: str, since: int | None) -> AsyncIterator[dict[str, Any]]:
        """Events of one kind; what stands comes first, or with `since` what is newer. Raises Gone."""
        return self.hub.watch(kind, since)

    async def rollout(self, revision: int, wait_seconds: float) -> Rollout:
        """How far a revision has come; returns early when it is complete."""
        deadline = self.clock.monotonic() + wait_seconds
        while True:
            async with self.database.reading() as connection:
                nodes, reports = await queries.node_progress(connection)
            rollout = self._rollout(revision, nodes, reports)
            left = deadline - self.clock.monotonic()
            if rollout.is_complete or left <= 0:
                return rollout
            async with self._reported:
                try:
                    await asyncio.wait_for(self._reported.wait(), min(left, REPORT_SECONDS))
                except TimeoutError:
                    continue

    async def create_join_token(self, cluster: str, ttl_seconds: int, uses: int, *, actor: Actor, bounds: TokenBounds = TokenBounds()) -> JoinToken:  # fmt: skip
        """A token for nodes of one cluster, which must exist. Raises Forbidden."""
        actor.must(Right.NETWORK, Place(cluster=cluster), f"let nodes into {cluster}")
        must_be_approved(await self.get(ObjectKey("Cluster", "", "", cluster)))
        asked = JoinToken(
            id="", cluster=cluster, expires="", uses_left=uses, bounds=bounds, created_by=actor.name
        )
        async with self.database.transaction() as connection:
            now = self.clock.now()
            token = await enrolment.store_join_token(connection, asked, ttl_seconds, now)
            deed = actor.did(now.isoformat(), "jointoken.create", f"{token.id} for {cluster}")
            await audit.append(connection, [deed])
        return token

    async def approve_cluster(self, name: str, *, actor: Actor) -> AnyResource:
        """Let a cluster in that another person asked for. Raises NotFound, Forbidden, Conflict when it does not wait."""
        key = ObjectKey("Cluster", "", "", name)
        actor.must(Right.NETWORK, Place(cluster=name), f"approve {key}")

        async def work(unit: UnitOfWork) -> AnyResource:
            standing = await unit.find(key)
            if standing is None:
                raise NotFound(f"{key} does not exist")
            unit.did("cluster.approve", str(key))
            return await unit.write(approved(standing, actor, unit.now))

        return await self._work(actor, work)

    async def list_join_tokens(self, actor: Actor = PROCESS) -> tuple[JoinToken, ...]:
        """All of clusters that the actor may let nodes into, without their secrets."""
        async with self.database.reading() as connection:
            tokens = await queries.join_tokens(connection)
        return tuple(token for token in tokens if actor.may(Right.NETWORK, Place(cluster=token.cluster)))

    async def revoke_join_token(self, token_id: str, *, actor: Actor) -> None:
        """Make a token useless. Raises NotFound."""
        async with self.database.transaction() as connection:
            standing = [token for token in await queries.join_tokens(connection) if token.id == token_id]
            if not standing or not actor.may(Right.NETWORK, Place(cluster=standing[0].cluster)):
                raise NotFound(f"join token {token_id} does not exist")
            await queries.drop_join_token(connection, token_id)
            deed = actor.did(self.clock.now().isoformat(), "jointoken.revoke", token_id)
            await audit.append(connection, [deed])

    async def join(self, request: JoinRequest) -> str:
        """Enrol a node; its credential is given this once."""

        async def work(unit: UnitOfWork) -> str:
            token = await enrolment.spend_join_token(unit.connection, request, self.clock.now())
            unit.did("jointoken.use", token)
            await enrolment.enrol(unit, request, self.settings.tunnel_prefix)
            return await enrolment.store_node_credential(unit.connection, request.cluster, request.node)

        return await self._work(joiner(request.cluster, request.node, request.source), work)

    def stream(
        self, session: NodeSession, since: int | None, *, is_packed: bool = False, before: Before = nothing
    ) -> AsyncIterator[bytes]:
        """What an agent follows; `before` is asked before each part. Raises Unavailable when too many begin at once."""
        return self.fanout.stream(session.cluster, since, is_packed=is_packed, before=before)

    async def reach(self, revision: int) -> None:
        """Know what an agent knows already, which another replica may have told it. A revision beyond the database's is none: it was set back.
        Raises Unavailable: while that cannot be known the agent keeps what it has."""
        if revision > self.hub.revision:
            await self.feed.catch_up()

    async def publish_key(self, session: NodeSession, public_key: str, listen_port: int) -> None:
        """Store a node's WireGuard facts, when they are new. Raises Conflict for another node's key."""
        if len(public_key) != 44 or not 1 <= listen_port <= 65535:
            raise InvalidInput("a WireGuard public key has 44 characters of base64, a port is 1-65535")
        wanted = WireguardSpec(public_key=public_key, listen_port=listen_port)
        async with self.database.reading() as connection:
            standing = await queries.find(connection, enrolment.node_key(session))
        if standing is not None and standing.spec.wireguard == wanted:
            return  # told again, as every agent does when it connects: no revision for nothing new

        async def work(unit: UnitOfWork) -> None:
            node = await unit.find(enrolment.node_key(session))
            if node is None:
                raise Unauthenticated(f"node {session.cluster}/{session.node} was deleted", hint="join again")
            for other in await unit.all_of("Node", holding=json.dumps(public_key)):
                theirs = other.spec.wireguard
                if other.key != node.key and theirs and theirs.public_key == public_key:
                    raise Conflict(f"{other.key} has this public key: every node makes its own")
            await unit.write(replace(node, spec=replace(node.spec, wireguard=wanted)))

        await self._work(node_actor(session.cluster, session.node), work)

    async def report(self, session: NodeSession, report: NodeReport) -> None:
        """Keep what a node's kernel enforces."""
        await self._told.put({(session.cluster, session.node): report})

    async def count(self, session: NodeSession, counts: Sequence[RuleCount]) -> None:
        """Keep what a node's kernel has counted of rules."""
        if counts:
            home = session.cluster, session.node
            await self._counted.put({(*home, c.policy, c.section, c.rule): c for c in counts})

    async def rule_counts(self, kind: str, path: str, actor: Actor = PROCESS) -> tuple[tuple[RuleCount, ...], int]:  # fmt: skip
        """(sums by rule over all nodes, how many nodes told any). Raises NotFound or InvalidInput."""
        key = queries.key_of_path(kind, path)
        await self.get(key, actor)
        async with self.database.reading() as connection:
            return await counts_of(connection, key)

    async def catch_up(self) -> None:
        """Know what any replica has committed. Raises Unavailable."""
        await self.feed.catch_up()

    async def _look(self, *, with_reports: bool) -> None:
        """Know what was committed before the question came; while the database is away, what was known last is told, and marked so."""
        if self.feed.stale_seconds is not None:
            return
        try:
            async with self.database.reading(LOOK_SECONDS) as connection:
                newest = await current_revision(connection)
                if with_reports:
                    self._reports = await queries.reports(connection)
            if newest != self.hub.revision:
                await self.feed.catch_up()
        except Unavailable as error:
            self.feed.lose(error)

    async def _with_enforcement(self, policy: Held, document: dict[str, Any], actor: Actor) -> dict[str, Any]:
        """A policy, with who enforces it of the nodes that are told of it; without a word of that while nobody can say."""
        try:
            async with self.database.reading(LOOK_SECONDS) as connection:
                nodes, reports = await queries.node_progress(connection)
        except Unavailable as error:
            self.feed.lose(error)
            return document
        told = {
            cluster: Sight(cluster, frozenset({cluster})).sees(policy.key, policy.document, policy.subjects)
            for cluster in {node.partition("/")[0] for node in nodes}
        }
        concerned = [node for node in nodes if told[node.partition("/")[0]]]
        rollout = self._rollout(int(document["metadata"]["revision"]), concerned, reports)
        return reading.with_enforcement(
            document, rollout, lambda cluster: actor.may(Right.READ, Place(cluster=cluster))
        )

    async def _keep_reports(self, told: Mapping[tuple[str, str], NodeReport]) -> None:
        now = self.clock.now().isoformat()
        await self.database.run(lambda connection: queries.store_reports(connection, told, now))
        async with self._reported:
            self._reported.notify_all()

    async def _keep_counts(self, told: Told) -> None:
        await self.database.run(lambda connection: store_counts(connection, told))

    async def _work(self, actor: Actor, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """One command: one transaction, one revision, in the feed before it returns."""

        async def whole(connection: Connection) -> tuple[int, T]:
            revision = await next_number(connection, "revision")
            unit = UnitOfWork(connection, revision, actor, self.clock.now().isoformat())
            unit.needs_approval = self.settings.needs_approval
            done = await work(unit)
            await unit.finish()
            await notify(connection)
            return revision, done

        revision, done = await self.database.run(whole)
        self._committed[revision] = self.clock.monotonic()
        while len(self._committed) > 1000:
            self._committed.pop(next(iter(self._committed)))
        try:
            await self.feed.catch_up()
        except Unavailable as error:  # it is committed, and will be told once the database is back
            self.feed.lose(error)
        return done

    def _rollout(self, revision: int, nodes: Sequence[str], reports: dict[str, tuple[int, str]]) -> Rollout:
        enforced, behind = [], []
        for node in nodes:
            reported, faults = reports.get(node, (-1, "[]"))
            said = [f"{key}: {message or reason}" for key, reason, message in json.loads(faults)]
            if reported < revision:
                said.insert(0, "never reported" if reported < 0 else f"last reported revision {reported}")
            if said:
                behind.append((node, "; ".join(said)))
            else:
                enforced.append(node)
        began = self._committed.get(revision, self.clock.monotonic())
        passed = (self.clock.monotonic() - began) * 1000
        return Rollout(revision=revision, enforced=tuple(enforced), behind=tuple(behind), milliseconds=passed)
