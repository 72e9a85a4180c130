"""The whole system in memory: a real control plane on SQLite, real agents, fake drivers, a line between them that can be cut."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, JoinRequest, NodeReport, NodeSession, Verb
from controlplane.service import ControlPlane, Settings
from federation import wire
from federation.errors import Unavailable
from federation.policy.tables import Verdict
from federation.policy.walk import Packet
from federation.resources.codec import decode
from nodeagent import pace
from nodeagent.agent import Agent
from nodeagent.dataplane.fake import FakeDriver, verdict
from nodeagent.reconcile import Drivers
from nodeagent.settings import AgentSettings
from tests.controlplane.lines import whole_lines

WEB, DB = IPv4Address("10.10.1.1"), IPv4Address("10.20.1.1")
TCP = Packet(protocol=6, destination_port=8080, source_port=40000)


class EagerClock(pace.SystemClock):
    """The machine's clock with retries a hundred times as quick."""

    def fraction(self) -> float:
        return 0.01


class Wire:
    """ControlChannel without HTTP; `plane` None: the control plane is away."""

    def __init__(self, plane: ControlPlane | None, session: NodeSession) -> None:
        self.session = session
        self.has_told_key = asyncio.Event()
        self.heard: list[tuple[int | None, list[wire.Message]]] = []
        """Every stream: what was asked for, and what came."""
        self.loses_reports = False
        self.lost_reports = 0
        self._plane = plane
        self._is_cut = asyncio.Event()
        self._request = asyncio.Lock()

    def connect(self, plane: ControlPlane) -> None:
        """The control plane is there (again)."""
        self._plane = plane
        self._is_cut.clear()

    async def cut(self) -> None:
        """Break the stream, and refuse everything from now on; a request under way is answered still."""
        async with self._request:
            self._plane = None
            self._is_cut.set()

    @property
    def plane(self) -> ControlPlane:
        if self._plane is None:
            raise Unavailable("the control plane is away")
        return self._plane

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        stream, heard = whole_lines(self.plane.stream(self.session, since)), list[wire.Message]()
        self.heard.append((since, heard))
        cut, chunk = asyncio.ensure_future(self._is_cut.wait()), None
        try:
            while True:
                chunk = asyncio.ensure_future(anext(stream))
                await asyncio.wait((chunk, cut), return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    raise Unavailable("the line was cut")
                for line in chunk.result().splitlines():
                    heard.append(wire.decode(line))
                    yield heard[-1]
        finally:
            for wait in (cut, chunk):
                if wait is not None:
                    wait.cancel()
                    await asyncio.wait((wait,))
            await stream.aclose()

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        async with self._request:
            await self.plane.publish_key(self.session, public_key, listen_port)
        self.has_told_key.set()

    async def report(self, revision: int, faults: tuple[tuple[str, str, str], ...]) -> None:
        if self.loses_reports:
            self.lost_reports += 1
            raise Unavailable("the report was lost")
        async with self._request:
            await self.plane.report(self.session, NodeReport(revision=revision, faults=faults))


class Member:
    """One node: its agent, its fakes, its channel."""

    def __init__(self, plane: ControlPlane | None, cluster: str, folder: Path) -> None:
        self.policy, self.tunnels, self.routes = FakeDriver(), FakeDriver(), FakeDriver()
        self.is_alone = plane is None
        self.wire = Wire(plane, NodeSession(cluster=cluster, node="n1"))
        folder.mkdir(exist_ok=True)
        settings = AgentSettings(server="", cluster=cluster, node="n1", state_dir=folder)
        drivers = Drivers(policy=self.policy, tunnels=self.tunnels, routes=self.routes)
        self.agent = Agent(settings, self.wire, drivers, EagerClock())
        self._changed = asyncio.Event()
        put = self.agent.book._on_change
        self.agent.book._on_change = lambda status: (put(status), self._changed.set())

    async def __aenter__(self) -> "Member":
        self.task = asyncio.ensure_future(self.agent.run(self.agent.settings.cluster.ljust(43, "k") + "="))
        if not self.is_alone:
            await asyncio.wait_for(self.wire.has_told_key.wait(), 5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.cut()
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def until(self, is_so: Callable[[Any], object]) -> None:
        """Return when the agent says so of itself."""

        async def wait() -> None:
            while not is_so(self.agent.book.status):
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), 10)

    def allows(self) -> bool:
        """Whether this node lets web reach db."""
        value: Any = self.policy.value
        return verdict(value, WEB, DB, TCP) is Verdict.ALLOW


def _change(kind: str, name: str, spec: dict[str, Any], verb: Verb = Verb.APPLY, **meta: Any) -> Change:
    body = {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    resource = decode(body)
    return Change(verb=verb, key=resource.key, resource=None if verb is Verb.DELETE else resource)


class System:
    """One folder's worth of federation: clusters dc1 (web) and aws1 (db), a node each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: list[Member] = []
        self.credentials: dict[str, str] = {}
        self.link = {"kind": "Link", "name": "dc1-aws1", "spec": {"clusters": ["dc1", "aws1"]}}
        self.closed = {
            "kind": "GlobalNetworkPolicy",
            "name": "db",
            "spec": {"selector": "app == 'db'", "types": ["Ingress"]},
        }

    @asynccontextmanager
    async def control_plane(self, database: str = "i.db") -> AsyncIterator[ControlPlane]:
        """A control plane on this folder's database: the same one, started again, each time."""
        settings = Settings(database_url=f"sqlite+aiosqlite:///{self.folder}/{database}")
        async with ControlPlane.open(settings, SystemClock()) as plane:
            try:
                yield plane
            finally:  # a process that ends takes its connections with it
                for member in self.known:
                    await member.wire.cut()

    def back_up(self, database: str, target: str) -> None:
        """Copy a database that no control plane uses now."""
        for part in self.folder.glob(f"{database}*"):
            shutil.copy(part, part.with_name(part.name.replace(database, target)))

    def member(self, plane: ControlPlane | None, cluster: str) -> Member:
        """The node of a cluster, with what earlier runs of it left on disk."""
        member = Member(plane, cluster, self.folder / cluster)
        self.known.append(member)
        return member

    async def members(self, stack: AsyncExitStack, plane: ControlPlane) -> list[Member]:
        """Both nodes, running until the stack's end."""
        return [await stack.enter_async_context(self.member(plane, c)) for c in ("dc1", "aws1")]

    async def apply(self, plane: ControlPlane, *wanted: dict[str, Any]) -> int:
        """Apply documents in one transaction; its revision."""
        return (await plane.change([_change(**w) for w in wanted], actor=inside("t"))).revision

    async def delete(self, plane: ControlPlane, *wanted: dict[str, Any]) -> int:
        """Delete documents in one transaction; its revision."""
        return (
            await plane.change([_change(**w, verb=Verb.DELETE) for w in wanted], actor=inside("t"))
        ).revision

    async def furnish(self, plane: ControlPlane) -> None:
        """Clusters, nodes and a workload each."""
        for second, cluster in ((10, "dc1"), (20, "aws1")):
            spec: dict[str, Any] = {"prefixes": [f"10.{second}.0.0/16"]}
            await self.apply(plane, {"kind": "Cluster", "name": cluster, "spec": spec})
            token = await plane.create_join_token(cluster, 60, 1, actor=inside("t"))
            request = JoinRequest(
                token=token.text,
                cluster=cluster,
                node="n1",
                os="linux",
                addresses=(IPv4Address(f"192.0.2.{second}"),),
                pod_prefixes=(IPv4Network(f"10.{second}.1.0/24"),),
            )
            self.credentials[cluster] = await plane.join(request)
            app = "web" if cluster == "dc1" else "db"
            spec = {"node": "n1", "addresses": [f"10.{second}.1.1"], "interface": "veth1"}
            where = {"cluster": cluster, "namespace": "shop", "labels": {"app": app}}
            await self.apply(plane, {"kind": "Endpoint", "name": app, "spec": spec, **where})


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)
