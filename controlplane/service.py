"""The control plane: every command one transaction, one revision, in the change feed before it returns."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any

from controlplane import commands
from controlplane.clock import Clock
from controlplane.hub import Hub
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
    Rollout,
    RuleCount,
)
from controlplane.store import enrolment, queries
from controlplane.store.counts import counts_of, store_counts
from controlplane.store.database import Database, current_revision, next_number
from controlplane.store.unit_of_work import UnitOfWork
from federation.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from federation.kinds.node import WireguardSpec
from federation.resources.metadata import AnyResource, ObjectKey

POLL_SECONDS = 0.5
"""How late this replica may learn of a change that another one wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the intent lives, and where tunnel addresses come from."""

    database_url: str
    """SQLAlchemy's: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`."""
    tunnel_prefix: IPv4Network = field(default=IPv4Network("100.64.0.0/10"))


class _RolledBackError(Exception):
    """Leaves a transaction without its effects; carries what it would have done."""

    def __init__(self, applied: Applied) -> None:
        self.applied = applied


class ControlPlane:
    """Implements Intent, Enrolment and AgentService of `controlplane.intent`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database_url)
        self.hub = Hub()
        self._catching_up = asyncio.Lock()
        self._reported = asyncio.Condition()
        self._committed: dict[int, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, clock: Clock) -> "AsyncIterator[ControlPlane]":
        """Bring the schema up to date, load what stands, follow the log until the end of the block."""
        plane = cls(settings, clock)
        try:
            await plane.database.upgrade()
            async with plane.database.transaction() as connection:
                plane.hub.load(await queries.everything(connection), await current_revision(connection))
            async with asyncio.TaskGroup() as group:
                follower = group.create_task(plane._follow(), name="follow the change log")
                try:
                    yield plane
                finally:
                    follower.cancel()
        finally:
            await plane.database.close()

    async def get(self, key: ObjectKey) -> AnyResource:
        """One resource. Raises NotFound."""
        async with self.database.reading() as connection:
            found = await queries.find(connection, key)
        if found is None:
            raise NotFound(f"{key} does not exist")
        return found

    async def list(self, query: ListQuery) -> Page:
        """A page of resources of one kind."""
        async with self.database.reading() as connection:
            return await queries.page(connection, query)

    async def change(self, changes: Sequence[Change], *, actor: str, is_dry_run: bool = False) -> Applied:
        """All changes in one transaction, or none."""
        try:
            async with self._work(actor) as work:
                order = sorted(range(len(changes)), key=lambda i: commands.execution_order(changes[i]))
                done: dict[int, Outcome] = {i: await commands.execute(work, changes[i]) for i in order}
                applied = Applied(
                    revision=work.revision, outcomes=tuple(done[i] for i in range(len(changes)))
                )
                if is_dry_run or not work.written:
                    raise _RolledBackError(replace(applied, revision=work.revision - 1))
        except _RolledBackError as rolled_back:
            return rolled_back.applied
        await self._committed_at(applied.revision)
        return applied

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
                    await asyncio.wait_for(self._reported.wait(), min(left, POLL_SECONDS))
                except TimeoutError:
                    continue

    async def create_join_token(self, cluster: str, ttl_seconds: int, uses: int, *, actor: str) -> JoinToken:
        """A token for nodes of one cluster, which must exist."""
        del actor  # the audit log comes with the control plane's own issue
        await self.get(ObjectKey("Cluster", "", "", cluster))
        async with self.database.transaction() as connection:
            return await enrolment.store_join_token(connection, cluster, ttl_seconds, uses, self.clock.now())

    async def list_join_tokens(self) -> tuple[JoinToken, ...]:
        """All that are stored, without their secrets."""
        async with self.database.reading() as connection:
            return await queries.join_tokens(connection)

    async def revoke_join_token(self, token_id: str, *, actor: str) -> None:
        """Make a token useless. Raises NotFound."""
        del actor
        async with self.database.transaction() as connection:
            if not await queries.drop_join_token(connection, token_id):
                raise NotFound(f"join token {token_id} does not exist")

    async def join(self, request: JoinRequest) -> str:
        """Enrol a node; its credential is given this once."""
        async with self._work(f"join {request.cluster}/{request.node}") as work:
            await enrolment.spend_join_token(
                work.connection, request.token, request.cluster, self.clock.now()
            )
            credential = await enrolment.enrol(work, request, self.settings.tunnel_prefix)
        await self._committed_at(work.revision)
        return credential

    async def node_session(self, credential: str) -> NodeSession:
        """Who an agent is. Raises Unauthenticated, or Forbidden for a user's token."""
        role, session = await self._holder(credential)
        if role != "node":
            raise Forbidden("this is a user's token; agents use the credential that joining gave them")
        return session

    async def user_of(self, api_token: str) -> str:
        """A user's name. Raises Unauthenticated, or Forbidden for a node's credential."""
        role, session = await self._holder(api_token)
        if role != "user":
            raise Forbidden("a node's credential does not open the users' API")
        return session.node

    async def create_api_token(self, name: str) -> str:
        """A user's token; shown this once."""
        async with self.database.transaction() as connection:
            return await enrolment.store_credential(connection, "user", "", name)

    def stream(self, session: NodeSession, since: int | None) -> AsyncIterator[bytes]:
        """What an agent follows."""
        return self.hub.stream(session.cluster, since)

    async def publish_key(self, session: NodeSession, public_key: str, listen_port: int) -> None:
        """Store a node's WireGuard facts, when they are new. Raises Conflict for another node's key."""
        if len(public_key) != 44 or not 1 <= listen_port <= 65535:
            raise InvalidInput("a WireGuard public key has 44 characters of base64, a port is 1-65535")
        wanted = WireguardSpec(public_key=public_key, listen_port=listen_port)
        async with self.database.reading() as connection:
            standing = await queries.find(connection, enrolment.node_key(session))
        if standing is not None and standing.spec.wireguard == wanted:
            return  # told again, as every agent does when it connects: no revision for nothing new
        async with self._work(f"node {session.cluster}/{session.node}") as work:
            node = await work.find(enrolment.node_key(session))
            if node is None:
                raise Unauthenticated(f"node {session.cluster}/{session.node} was deleted", hint="join again")
            for other in await work.all_of("Node"):
                if (
                    other.key != node.key
                    and other.spec.wireguard
                    and other.spec.wireguard.public_key == public_key
                ):
                    raise Conflict(f"{other.key} has this public key: every node makes its own")
            await work.write(replace(node, spec=replace(node.spec, wireguard=wanted)))
        await self._committed_at(work.revision)

    async def report(self, session: NodeSession, report: NodeReport) -> None:
        """Keep what a node's kernel enforces."""
        async with self.database.transaction() as connection:
            await queries.store_report(connection, session, report, self.clock.now().isoformat())
        async with self._reported:
            self._reported.notify_all()

    async def count(self, session: NodeSession, counts: Sequence[RuleCount]) -> None:
        """Keep what a node's kernel has counted of rules."""
        async with self.database.transaction() as connection:
            await store_counts(connection, session, counts)

    async def rule_counts(self, kind: str, path: str) -> tuple[tuple[RuleCount, ...], int]:
        """(sums by rule over all nodes, how many nodes told any). Raises NotFound or InvalidInput."""
        key = queries.key_of_path(kind, path)
        async with self.database.reading() as connection:
            if await queries.find(connection, key) is None:
                raise NotFound(f"{key} does not exist")
            return await counts_of(connection, key)

    async def _holder(self, credential: str) -> tuple[str, NodeSession]:
        async with self.database.reading() as connection:
            return await enrolment.holder_of(connection, credential)

    @asynccontextmanager
    async def _work(self, actor: str) -> AsyncIterator[UnitOfWork]:
        async with self.database.transaction() as connection:
            revision = await next_number(connection, "revision")
            yield UnitOfWork(connection, revision, actor, self.clock.now().isoformat())

    async def _committed_at(self, revision: int) -> None:
        self._committed[revision] = self.clock.monotonic()
        while len(self._committed) > 1000:
            self._committed.pop(next(iter(self._committed)))
        await self.catch_up()

    async def catch_up(self) -> None:
        """Publish what the log holds beyond what the hub knows."""
        async with self._catching_up, self.database.reading() as connection:
            for transaction in await queries.transactions_after(connection, self.hub.revision):
                self.hub.publish(transaction)

    async def _follow(self) -> None:
        while self.database.engine.dialect.name != "sqlite":
            await asyncio.sleep(POLL_SECONDS)
            await self.catch_up()

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
