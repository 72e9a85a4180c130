"""The whole system in memory: a real control plane, real agents, fake drivers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from controlplane.clock import SystemClock
from controlplane.intent import Change, JoinRequest, NodeReport, NodeSession, Verb
from controlplane.service import ControlPlane, Settings
from federation import wire
from federation.errors import Unavailable
from federation.policy.tables import Verdict
from federation.policy.walk import Packet
from federation.resources.codec import decode
from nodeagent import cache, pace
from nodeagent.agent import Agent
from nodeagent.dataplane.fake import FakeDriver, verdict
from nodeagent.reconcile import Drivers
from nodeagent.settings import AgentSettings

WEB, DB = IPv4Address("10.10.1.1"), IPv4Address("10.20.1.1")
TCP = Packet(protocol=6, destination_port=8080, source_port=40000)
LINK = {"kind": "Link", "name": "dc1-aws1", "spec": {"clusters": ["dc1", "aws1"]}}
CLOSED = {
    "kind": "GlobalNetworkPolicy",
    "name": "db",
    "spec": {"selector": "app == 'db'", "types": ["Ingress"]},
}


class EagerClock(pace.SystemClock):
    """The machine's clock with retries a hundred times as quick."""

    def fraction(self) -> float:
        return 0.01


class Wire:
    """ControlChannel without HTTP; `plane` None: the control plane is away."""

    def __init__(self, plane: ControlPlane | None, session: NodeSession) -> None:
        self.plane = plane
        self.session = session
        self.has_told_key = asyncio.Event()

    def _plane(self) -> ControlPlane:
        if self.plane is None:
            raise Unavailable("the control plane is away")
        return self.plane

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        async for chunk in self._plane().stream(self.session, since):
            for line in chunk.splitlines():
                self._plane()
                yield wire.decode(line)

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        await self._plane().publish_key(self.session, public_key, listen_port)
        self.has_told_key.set()

    async def report(self, revision: int, faults: list[tuple[str, str, str]]) -> None:
        await self._plane().report(self.session, NodeReport(revision=revision, faults=tuple(faults)))


class Member:
    """One node: its agent, its fakes, its channel."""

    def __init__(self, plane: ControlPlane | None, cluster: str, folder: Path) -> None:
        self.policy, self.tunnels, self.routes = FakeDriver(), FakeDriver(), FakeDriver()
        self.wire = Wire(plane, NodeSession(cluster=cluster, node="n1"))
        folder.mkdir(exist_ok=True)
        settings = AgentSettings(server="", cluster=cluster, node="n1", state_dir=folder)
        drivers = Drivers(policy=self.policy, tunnels=self.tunnels, routes=self.routes)
        self.agent = Agent(settings, self.wire, drivers, EagerClock())

    async def __aenter__(self) -> "Member":
        self.task = asyncio.ensure_future(self.agent.run(self.agent.settings.cluster.ljust(43, "k") + "="))
        if self.wire.plane is not None:
            await asyncio.wait_for(self.wire.has_told_key.wait(), 5)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    def allows(self) -> bool:
        value: Any = self.policy.value
        return verdict(value, WEB, DB, TCP) is Verdict.ALLOW


def document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> Change:
    body = {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    resource = decode(body)
    return Change(verb=Verb.APPLY, key=resource.key, resource=resource)


async def apply(plane: ControlPlane, *wanted: dict[str, Any]) -> int:
    return (await plane.change([document(**w) for w in wanted], actor="t")).revision


async def furnish(plane: ControlPlane) -> None:
    for second, cluster in ((10, "dc1"), (20, "aws1")):
        await apply(
            plane, {"kind": "Cluster", "name": cluster, "spec": {"prefixes": [f"10.{second}.0.0/16"]}}
        )
        token = await plane.create_join_token(cluster, 60, 1, actor="t")
        prefixes, addresses = (IPv4Network(f"10.{second}.1.0/24"),), (IPv4Address(f"192.0.2.{second}"),)
        request = JoinRequest(
            token=token.text,
            cluster=cluster,
            node="n1",
            os="linux",
            addresses=addresses,
            pod_prefixes=prefixes,
        )
        await plane.join(request)
        app = "web" if cluster == "dc1" else "db"
        spec = {"node": "n1", "addresses": [f"10.{second}.1.1"], "interface": "veth1"}
        await apply(
            plane,
            {
                "kind": "Endpoint",
                "name": app,
                "spec": spec,
                "cluster": cluster,
                "namespace": "shop",
                "labels": {"app": app},
            },
        )


async def test_a_link_and_a_policy_reach_every_node_and_are_acknowledged(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/i.db")
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(ControlPlane.open(settings, SystemClock()))
        await furnish(plane)
        dc1, aws1 = [await stack.enter_async_context(Member(plane, c, tmp_path / c)) for c in ("dc1", "aws1")]
        linked = await apply(plane, LINK)
        assert (await plane.rollout(linked, 10)).is_complete
        peers: Any = dc1.tunnels.value
        assert [p.name for p in peers.peers] == ["aws1/n1"]
        routes: Any = dc1.routes.value
        assert IPv4Network("10.20.1.0/24") in routes.via_tunnel
        assert aws1.allows()
        closed = await apply(plane, CLOSED)
        assert (await plane.rollout(closed, 10)).is_complete
        assert not aws1.allows()


async def test_a_failing_driver_is_named_in_the_rollout_and_recovers(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/i.db")
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(ControlPlane.open(settings, SystemClock()))
        await furnish(plane)
        dc1, _ = [await stack.enter_async_context(Member(plane, c, tmp_path / c)) for c in ("dc1", "aws1")]
        assert (await plane.rollout(await apply(plane, LINK), 10)).is_complete
        dc1.routes.failure = "no buffer space"
        revision = await apply(plane, CLOSED)
        behind = dict((await plane.rollout(revision, 1)).behind)
        assert "no buffer space" in behind["dc1/n1"]
        dc1.routes.failure = ""
        assert (await plane.rollout(revision, 10)).is_complete


async def test_an_agent_starts_from_its_cache_while_the_control_plane_is_away(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/i.db")
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(ControlPlane.open(settings, SystemClock()))
        await furnish(plane)
        for cluster in ("dc1", "aws1"):
            await stack.enter_async_context(Member(plane, cluster, tmp_path / cluster))
        await apply(plane, LINK)
        assert (await plane.rollout(await apply(plane, CLOSED), 10)).is_complete
    async with Member(None, "aws1", tmp_path / "aws1") as alone:
        await asyncio.wait_for(alone.policy.taken.wait(), 5)
        assert not alone.allows()


async def test_a_corrupt_cache_is_moved_aside_and_a_full_disk_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    path.write_text("{ half")
    state, wrong = cache.load(path)
    assert (state.documents, "corrupt" in wrong) == ({}, True)
    assert (tmp_path / "cache.corrupt").exists()
    cache.save(path, state)
    before = path.read_bytes()
    (tmp_path / "cache.new").mkdir()
    with pytest.raises(Unavailable, match="was not written"):
        cache.save(path, state)
    assert path.read_bytes() == before
