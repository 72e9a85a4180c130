"""Flows of real packets: told in names, aggregated; a flood loses events, counts them, and is never waited for."""

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from federation.policy.walk import Packet
from nodeagent.dataplane.ebpf import layout, probe
from nodeagent.dataplane.ebpf.inspect.decode import event
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.inspect.ring import Ring
from nodeagent.dataplane.ebpf.observe.counters import reasons
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.settings import AgentSettings, load_settings
from tests.kernel.frames import frame
from tests.kernel.world import DB_FROM_API, World

pytestmark = pytest.mark.kernel
RULE = "GlobalNetworkPolicy p0 ingress rule 1"
RECORD = 8 + layout.EVENT.size
DENIED_UDP = Packet(protocol=17, source_port=1000, destination_port=53)


@pytest.fixture
def world(node: Any) -> Any:
    made = World(node)
    yield made
    made.driver.close()


@pytest.fixture
def readers(world: World) -> Any:
    """Makes a reader with settings of the test; closed at the end."""
    made: list[FlowReader] = []

    def make(**changes: Any) -> FlowReader:
        settings: AgentSettings = replace(load_settings(world.state_dir), **changes)
        reader = FlowReader(world.noted, settings, world.driver.generation, lambda: 0.0)
        made.append(reader)
        return reader

    yield make
    for reader in made:
        reader.close()


def flood(world: World, count: int) -> None:
    """Denied datagrams to the endpoint that hangs on the loopback, without a wire."""
    raw = frame(world.node.address(1), world.node.address(3), DENIED_UDP)
    with world.node.entered():
        done = probe.ask(world.driver.generation / "to_endpoint", raw, count)
    assert done.action == probe.ACT_SHOT


def said(world: World, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in world.ask("flows", *words, "-o", "json").splitlines()]


def test_an_allowed_and_a_denied_connection_are_told_in_names(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API)
    reader = readers(flows="all")
    reader.drain()
    world.node.serve(3)
    assert (world.node.reaches(2, 3), world.node.reaches(1, 3)) == (True, False)
    lines: list[dict[str, Any]] = []
    while not any(line["closed"] for line in lines):  # the server's end closes in its own time
        reader.drain()
        reader.finish_window()
        lines = said(world, "--endpoint", "db", "--verdict", "allowed")
    assert {(n["peerName"], n["protocol"], n["port"], n["rule"]) for n in lines} == {
        ("dc1/shop/api", "tcp", 8080, RULE)
    }
    assert {(n["direction"], n["identity"]) for n in lines} == {("ingress", 258)}
    assert (sum(n["times"] for n in lines), sum(n["closed"] for n in lines)) == (1, 1)
    assert min(sum(n["bytes"][way] for n in lines) for way in (0, 1)) > 100
    denied = said(world, "--verdict", "denied")[0]
    assert (denied["endpoint"], denied["peerName"], denied["port"]) == ("dc1/shop/db", "dc1/shop/web", 8080)
    assert (denied["reason"], denied["rule"]) == ("denied", "end of tier default")
    assert denied["times"] >= 1
    assert denied["packets"][0] == denied["times"], "each SYN"
    at_api = next(line for line in said(world, "--endpoint", "shop/api") if line["direction"] == "egress")
    assert (at_api["peerName"], at_api["port"], at_api["rule"]) == ("dc1/shop/db", 8080, "")
    text = world.ask("flows")
    assert "dc1/shop/web" in text
    assert RULE in text


def test_what_is_not_wanted_is_not_told(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API)
    reader = readers(flows="denied")
    reader.drain()
    world.node.serve(3)
    assert world.node.reaches(2, 3)
    assert reader.drain() == 1.0
    assert reader.read == 0
    off = readers(flows="off")
    off.drain()
    assert not world.node.reaches(1, 3)
    reader.drain()
    assert (reader.read, off.read) == (0, 0)


def test_a_rule_that_logs_is_told_once_a_connection_and_others_decide(world: World, readers: Any) -> None:
    log = {"action": "Log", "protocol": "TCP"}
    world.enforce({**DB_FROM_API, "ingress": [log, *DB_FROM_API["ingress"]]})
    reader = readers(flows="denied")
    reader.drain()
    world.node.serve(3)
    assert (world.node.reaches(2, 3), world.node.reaches(2, 3, "udp")) == (True, False)
    reader.drain()
    reader.finish_window()
    (logged,) = said(world, "--verdict", "logged")
    assert (logged["times"], logged["rule"]) == (1, "GlobalNetworkPolicy p0 ingress rule 0")
    assert (logged["peerName"], logged["protocol"], logged["port"]) == ("dc1/shop/api", "tcp", 8080)
    assert {line["protocol"] for line in said(world, "--verdict", "denied")} == {"udp"}


def test_a_connection_that_a_new_policy_cuts_is_told(world: World, readers: Any) -> None:
    world.enforce(interfaces={3: "lo"})
    reader = readers(flows="denied")
    reader.drain()
    raw = frame(world.node.address(1), world.node.address(3), DENIED_UDP)
    with world.node.entered():
        assert probe.ask(world.driver.generation / "to_endpoint", raw).action != probe.ACT_SHOT
    world.enforce(DB_FROM_API, interfaces={3: "lo"}, revision=2)
    flood(world, 2)
    reader.drain()
    reader.finish_window()
    assert sorted((line["verdict"], line["times"]) for line in said(world)) == [("cut", 1), ("denied", 1)]


def test_a_flood_loses_events_counts_them_and_waits_for_nobody(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API, interfaces={3: "lo"})
    reader = readers(flows="denied")
    reader.drain()
    sent = 3 * layout.EVENT_PAGES * 4096 // RECORD
    flood(world, sent)  # nobody reads meanwhile
    reader.drain()
    room = layout.EVENT_PAGES * 4096 // RECORD
    assert room - 1 <= reader.read <= room
    reader.finish_window()
    assert reader.read + reader.lost == sent
    with Pins(world.driver.generation) as pins:
        assert reasons(pins)["denied"] == sent, "each packet was judged, told or not"
    flow, rest = said(world)
    assert (flow["times"], flow["verdict"], rest["lost"]) == (reader.read, "denied", reader.lost)
    flood(world, 10)
    reader.drain()
    assert reader.read == flow["times"] + 10, "there is room again"


def test_the_ring_gives_every_event_once_over_many_turns_of_its_memory(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API, interfaces={3: "lo"})
    readers(flows="denied").drain()
    ring = Ring(world.driver.generation / "events", layout.EVENT_PAGES * 4096)
    try:
        times = []
        for _ in range(9):
            flood(world, 3000)
            times += [event(raw).at for raw in ring.read(10**6)]
        assert len(times) == 27_000, "three times round"
        assert times == sorted(times)
        assert ring.unread == 0
    finally:
        ring.close()


def test_a_reader_beside_a_writer_misses_nothing_that_was_not_counted(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API, interfaces={3: "lo"})
    reader = readers(flows="denied")
    reader.drain()
    writer = threading.Thread(target=lambda: [flood(world, 1000) for _ in range(60)])
    writer.start()
    while writer.is_alive():
        reader.drain()
    writer.join()
    reader.drain()
    reader.finish_window()
    assert reader.read + reader.lost == 60_000


def test_of_a_sample_each_event_stands_for_many(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API, interfaces={3: "lo"})
    reader = readers(flows="denied", flow_sample=100)
    reader.drain()
    flood(world, 20_000)
    reader.drain()
    reader.finish_window()
    assert 100 < reader.read < 300, "200 by chance"
    (flow,) = said(world)
    assert flow["times"] == 100 * reader.read


def test_a_new_reader_goes_on_where_a_dead_one_stopped(world: World, readers: Any) -> None:
    world.enforce(DB_FROM_API, interfaces={3: "lo"})
    first = readers(flows="denied")
    first.drain()
    flood(world, 5)
    first.drain()
    flood(world, 7)
    first.close()
    second = readers(flows="denied")
    second.drain()
    assert (first.read, second.read) == (5, 7)
