"""Whatever happens and however slowly an agent reads, it ends with exactly what it may see."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.fanout import streams, view
from controlplane.fanout.sight import Sight, linked_with, subjects_of
from controlplane.fanout.streams import Fanout
from controlplane.hub import Hub, Transaction, held
from federation import wire
from federation.errors import Unavailable
from federation.identities import CLUSTER_LABEL
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from nodeagent.control.replica import Replica, State

CLUSTERS = ("dc1", "aws1", "gcp1")
LINKS = (("dc1", "aws1"), ("aws1", "gcp1"))
Fact = tuple[str, dict[str, Any] | None]
"""(text of a key, its spec; None: gone)."""


def key_and_text(name: str, spec: dict[str, Any] | None) -> tuple[ObjectKey, str | None]:
    kind, _, path = name.partition(" ")
    *place, last = path.split("/")
    cluster, namespace = (*place, "", "")[:2]
    meta = {"name": last, "cluster": cluster, "namespace": namespace}
    key = ObjectKey(kind, cluster, namespace, last)
    if spec is None:
        return key, None
    return key, json.dumps(
        {
            "apiVersion": "causeway.dev/v1",
            "kind": kind,
            "metadata": {k: v for k, v in meta.items() if v},
            "spec": spec,
        }
    )


def publish(hub: Hub, *facts: Fact) -> None:
    """A transaction; what is gone already is not said to go again."""
    changes = [held(*key_and_text(*fact)) for fact in facts]
    changes = [item for item in changes if item.document is not None or item.key in hub.objects]
    if changes:
        hub.publish(Transaction(hub.revision + 1, tuple(changes)))


def expected(hub: Hub, cluster: str) -> dict[tuple[str, str], dict[str, Any]]:
    sight = Sight(cluster, linked_with(cluster, [tuple(item.document["spec"]["clusters"]) for item in hub.objects.values() if item.key.kind == "Link" and item.document]))  # fmt: skip
    return {
        (key.kind, key.path): item.document
        for key, item in hub.objects.items()
        if item.document and sight.sees(key, item.document, subjects_of(key, item.document))
    }


class Agent:
    """Reads one stream as an agent does; packed or not."""

    def __init__(self, fanout: Fanout, cluster: str, is_packed: bool, state: State | None = None) -> None:
        self.cluster = cluster
        self.replica = Replica(state or State())
        self.chunks = fanout.stream(cluster, self.replica.state.resume_from, is_packed=is_packed)
        self._unpack = zlib.decompressobj() if is_packed else None
        self._rest = b""
        self.begun: list[str] = []

    async def read(self) -> None:
        """One chunk."""
        data = await anext(self.chunks)
        *lines, self._rest = (self._rest + (self._unpack.decompress(data) if self._unpack else data)).split(
            b"\n"
        )
        for line in lines:
            message = wire.decode(line)
            if isinstance(message, wire.Begin):
                self.begun.append(message.mode)
            self.replica.take(message)

    async def catch_up(self, hub: Hub) -> None:
        """To the hub's revision."""
        async with asyncio.timeout(10):
            while self.replica.state.revision != hub.revision:
                await self.read()

    @property
    def knows(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {
            key: json.loads(json.dumps(document.whole()))
            for key, document in self.replica.state.documents.items()
        }  # type: ignore[attr-defined]


def ticking(fanout: Fanout) -> None:
    """News of what concerns nobody come at a tick."""
    for _ in range(streams.LATE_TICKS):
        fanout.tick()


endpoints = st.builds(
    lambda c, n, a: (f"Endpoint {c}/shop/{n}", {"node": "n", "addresses": [f"10.1.1.{a}"]} if a else None),
    st.sampled_from(CLUSTERS), st.sampled_from("ab"), st.integers(0, 3),
)  # fmt: skip
policies = st.builds(
    lambda n, c: (f"GlobalNetworkPolicy {n}", {"selector": f"{CLUSTER_LABEL} == '{c}'", "types": ["Ingress"]} if c else None),
    st.sampled_from("pq"), st.sampled_from([*CLUSTERS, ""]),
)  # fmt: skip
links = st.builds(
    lambda pair, is_there: (f"Link {'-'.join(pair)}", {"clusters": list(pair)} if is_there else None),
    st.sampled_from(LINKS), st.booleans(),
)  # fmt: skip
tiers = st.builds(
    lambda n, o: (f"Tier {n}", {"order": o} if o else None), st.sampled_from("st"), st.integers(0, 2)
)
identities = st.builds(
    lambda c, is_there: (f"Identity {c}-id", {"number": 300, "labels": {CLUSTER_LABEL: c}} if is_there else None),
    st.sampled_from(CLUSTERS), st.booleans(),
)  # fmt: skip
transactions = st.lists(
    st.one_of(endpoints, policies, links, tiers, identities),
    min_size=1,
    max_size=3,
    unique_by=lambda fact: fact[0],
)
steps = st.lists(
    st.one_of(
        *[transactions.map(lambda facts: ("publish", facts))] * 3,
        st.tuples(st.just("read"), st.integers(0, 5)),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("new"), st.sampled_from(CLUSTERS)),
        st.just(("replaced", None)),
    ),
    min_size=2,
    max_size=30,
)


@given(steps)
@settings(max_examples=300, deadline=None)
def test_every_agent_ends_with_exactly_what_it_may_see(given_steps: list[Any]) -> None:
    asyncio.run(_play(given_steps))


async def _play(given_steps: list[Any]) -> None:
    hub = Hub()
    hub.load([], 7)
    fanout = Fanout(hub)
    agents = [Agent(fanout, cluster, is_packed) for cluster in CLUSTERS[:2] for is_packed in (False, True)]
    for agent in agents:
        await agent.catch_up(hub)
    for what, said in given_steps:
        match what:
            case "publish":
                publish(hub, *said)
            case "read":  # some read now, others later
                agent = agents[said % len(agents)]
                if agent.replica.state.revision != hub.revision:
                    ticking(fanout)
                    await agent.read()
            case "again":  # the connection was lost, in the middle of anything
                old = agents[said % len(agents)]
                await old.chunks.aclose()  # type: ignore[attr-defined]
                agents[said % len(agents)] = Agent(fanout, old.cluster, said % 2 == 0, old.replica.state)
            case "new":
                agents.append(Agent(fanout, said, len(agents) % 2 == 0))
            case _:  # a log that was compacted too far, or a backup's restoration, whose revision is beyond all that anybody knew
                standing = [held(*key_and_text("Tier s", {"order": 9}))]
                hub.replace(standing, hub.revision + 5)
    ticking(fanout)
    for agent in agents:
        await agent.catch_up(hub)
        assert agent.knows == expected(hub, agent.cluster)
        await agent.chunks.aclose()  # type: ignore[attr-defined]
    assert fanout.size == 0


async def opened(hub: Hub, fanout: Fanout, cluster: str = "dc1") -> Agent:
    agent = Agent(fanout, cluster, is_packed=False)
    await agent.catch_up(hub)
    return agent


def tier(number: int, name: str = "s") -> Fact:
    return f"Tier {name}", {"order": number}


@pytest.fixture
def hub() -> Hub:
    made = Hub()
    made.load([held(*key_and_text(*tier(1)))], 7)
    return made


@pytest.fixture
def fanout(hub: Hub) -> Fanout:
    return Fanout(hub)


async def test_streams_at_one_place_are_given_the_very_same_bytes(hub: Hub, fanout: Fanout) -> None:
    some = [await opened(hub, fanout) for _ in range(3)]
    publish(hub, tier(2))
    first, second, third = [await anext(agent.chunks) for agent in some]
    assert b'"order":2' in first
    packed = [fanout.stream("dc1", None, is_packed=True) for _ in range(2)]
    openings = [[await anext(stream) for _ in range(3)] for stream in packed]
    assert openings[0][1] is openings[1][1] or openings[0][1] == openings[1][1]
    assert first == second == third


async def test_a_slow_agent_is_told_the_latest_only(hub: Hub, fanout: Fanout) -> None:
    slow = await opened(hub, fanout)
    for number in range(50):
        publish(hub, tier(number))
    chunk = await anext(slow.chunks)
    assert [type(wire.decode(line)).__name__ for line in chunk.splitlines()] == ["Upsert", "Commit"]
    assert b'"order":49' in chunk


async def test_one_that_is_behind_what_is_kept_gets_what_stands(hub: Hub, fanout: Fanout) -> None:
    slow = await opened(hub, fanout)
    for number in range(view.KEPT + 5):
        publish(hub, tier(number))
    await slow.catch_up(hub)
    assert slow.begun == ["snapshot", "snapshot"]
    assert slow.knows == expected(hub, "dc1")


async def test_a_policy_that_becomes_another_clusters_is_taken_back(hub: Hub, fanout: Fanout) -> None:
    reads, sleeps = await opened(hub, fanout), await opened(hub, fanout)
    for home in ("dc1", "aws1"):
        spec = {"selector": f"{CLUSTER_LABEL} == '{home}'", "types": ["Ingress"]}
        publish(hub, ("GlobalNetworkPolicy p", spec))
        await asyncio.wait_for(reads.read(), 10)
    await asyncio.wait_for(sleeps.read(), 10)
    for agent in (reads, sleeps):
        assert agent.replica.state.revision == hub.revision
        assert set(agent.knows) == {("Tier", "s")}


async def test_a_database_that_was_set_back_is_noticed_though_its_revision_has_caught_up(
    hub: Hub, fanout: Fanout
) -> None:
    publish(hub, tier(2, "t"))
    publish(hub, tier(3, "t"))
    agent = await opened(hub, fanout)
    hub.replace([held(*key_and_text(*tier(1)))], hub.revision - 2)
    publish(hub, tier(4, "u"))
    publish(hub, tier(5, "u"))
    assert hub.revision == agent.replica.state.revision
    await agent.read()
    await agent.read()
    assert agent.begun == ["snapshot", "snapshot"]
    assert agent.knows == expected(hub, "dc1")


async def test_who_comes_back_is_told_what_it_missed(hub: Hub, fanout: Fanout) -> None:
    agent = await opened(hub, fanout)
    await agent.chunks.aclose()  # type: ignore[attr-defined]
    publish(hub, tier(5), tier(6, "t"))
    publish(hub, tier(7, "t"))
    again = Agent(fanout, "dc1", is_packed=True, state=agent.replica.state)
    await again.catch_up(hub)
    assert again.begun == ["resume"]
    assert again.knows == expected(hub, "dc1")


async def test_who_comes_from_a_former_replica_resumes_over_the_logs_end(hub: Hub) -> None:
    publish(hub, tier(5))
    publish(hub, tier(6, "t"))
    fanout = Fanout(hub)  # nobody of that cluster was here before
    agent = Agent(fanout, "dc1", is_packed=False, state=State(revision=7))
    await agent.catch_up(hub)
    assert agent.begun == ["resume"]
    assert {path for _, path in agent.knows} == {"s", "t"}


async def test_what_concerns_nobody_of_a_cluster_is_told_in_passing(hub: Hub, fanout: Fanout) -> None:
    agent = await opened(hub, fanout)
    waiting = asyncio.ensure_future(agent.read())
    await asyncio.sleep(0)
    for number in range(20):
        publish(hub, (f"Endpoint gcp1/shop/e{number}", {"node": "n", "addresses": ["10.1.1.1"]}))
    await asyncio.sleep(0)
    assert not waiting.done(), "twenty changes elsewhere wake nobody"
    ticking(fanout)
    await waiting
    assert agent.replica.state.revision == hub.revision
    assert agent.knows == expected(hub, "dc1")


async def test_who_has_nothing_to_hear_hears_a_sign_of_life(hub: Hub, fanout: Fanout) -> None:
    agent = await opened(hub, fanout)
    waiting = asyncio.ensure_future(anext(agent.chunks))
    await asyncio.sleep(0)
    for _ in range(streams.KEEP_ALIVE_TICKS):
        fanout.tick()
    assert wire.decode((await waiting).strip()) == wire.Commit(hub.revision)


async def test_when_too_many_begin_at_once_some_are_told_to_come_back(hub: Hub, fanout: Fanout) -> None:
    begun: list[AsyncIterator[bytes]] = []
    for _ in range(streams.OPENING):  # each holds a place until it has read its first state
        begun.append(fanout.stream("dc1", None))
        await anext(begun[-1])
    waiting = []
    for _ in range(streams.WAITING):
        waiting.append(asyncio.ensure_future(anext(fanout.stream("dc1", None))))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        fanout.stream("dc1", None)
    for stream in begun:
        await stream.aclose()  # type: ignore[attr-defined]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert done, "who waited has its turn"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_a_decoded_key_is_the_key() -> None:
    key, text = key_and_text("Endpoint dc1/shop/a", {"node": "n", "addresses": ["10.1.1.1"]})
    assert text
    assert decode(json.loads(text), is_trusted=True).key == key
