"""Counts of rules, read from the programs' own: over renumbering, restarts, and what Prometheus is told of it all."""

import json
import socket
import urllib.request
from typing import Any

import pytest

from federation.policy.walk import Packet
from nodeagent.dataplane.ebpf import probe
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.dataplane.ebpf.observe.metrics import AgentMetrics, serve
from nodeagent.dataplane.ebpf.observe.totals import RuleTotals
from nodeagent.settings import load_settings
from tests.kernel.frames import frame
from tests.kernel.world import DB_FROM_API, World

pytestmark = pytest.mark.kernel
UDP = Packet(protocol=17, source_port=1000, destination_port=53)
SIZE = 28
"""Bytes of such a packet from its IP header on."""
DENY_UDP, ALL = "GlobalNetworkPolicy p0 0", {3: "lo"}


@pytest.fixture
def world(node: Any) -> Any:
    made = World(node)
    yield made
    made.driver.close()


def totals_of(world: World) -> RuleTotals:
    return RuleTotals(world.noted, world.state_dir, world.driver.generation)


def send(world: World, count: int) -> None:
    raw = frame(world.node.address(1), world.node.address(3), UDP)
    with world.node.entered():
        probe.ask(world.driver.generation / "to_endpoint", raw, count)


def said(kept: RuleTotals) -> dict[str, tuple[int, int]]:
    return {
        f"{rule.policy} {rule.index}" if rule.policy else "end": count for rule, count in kept.totals.items()
    }


def test_packets_and_bytes_are_counted_by_policy_and_rule(world: World) -> None:
    world.enforce(DB_FROM_API, interfaces=ALL)
    kept = totals_of(world)
    send(world, 5)
    assert kept.read() == 30.0
    assert said(kept) == {DENY_UDP: (5, 5 * SIZE)}
    send(world, 2)
    kept.read()
    assert said(kept) == {DENY_UDP: (7, 7 * SIZE)}


def test_counts_go_on_when_other_rules_get_other_numbers(world: World) -> None:
    world.enforce(DB_FROM_API, interfaces=ALL)
    kept = totals_of(world)
    send(world, 5)
    kept.read()
    other = {"selector": "app == 'db'", "order": 500, "ingress": [{"action": "Deny", "protocol": "SCTP"}]}
    world.enforce(DB_FROM_API, other, other, interfaces=ALL, revision=2)
    send(world, 3)
    kept.read()
    assert said(kept)[DENY_UDP] == (8, 8 * SIZE)
    world.enforce({**DB_FROM_API, "ingress": []}, other, interfaces=ALL, revision=3)
    kept.read()
    assert DENY_UDP not in said(kept), "the rule is gone"


def test_a_restarted_agent_adds_what_went_on_without_it(world: World) -> None:
    world.enforce(DB_FROM_API, interfaces=ALL)
    kept = totals_of(world)
    send(world, 5)
    kept.read()
    send(world, 4)  # and the agent dies before it reads
    world.driver.close()
    second = World(world.node)
    after = totals_of(second)
    second.noted.before_first = after.adopt
    send(world, 6)
    second.enforce(DB_FROM_API, interfaces=ALL)
    after.read()
    assert said(after) == {DENY_UDP: (15, 15 * SIZE)}
    send(second, 1)
    after.read()
    assert said(after) == {DENY_UDP: (16, 16 * SIZE)}
    second.driver.close()


def test_maps_that_the_names_are_not_of_are_not_added(world: World) -> None:
    world.enforce(DB_FROM_API, interfaces=ALL)
    kept = totals_of(world)
    send(world, 5)
    kept.read()
    send(world, 4)
    names = json.loads((world.state_dir / "names.json").read_text())
    (world.state_dir / "names.json").write_text(json.dumps({**names, "mark": [9, 9]}))
    after = totals_of(world)
    after.adopt()
    assert said(after) == {DENY_UDP: (5, 5 * SIZE)}


def test_prometheus_is_told_what_the_programs_did(world: World) -> None:
    world.enforce(DB_FROM_API, interfaces=ALL)
    kept = totals_of(world)
    flows = FlowReader(world.noted, load_settings(world.state_dir), world.driver.generation)
    flows.drain()
    send(world, 5)
    kept.read()
    flows.drain()
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    stop = serve(AgentMetrics(world.driver.generation, world.state_dir, (world.noted, kept, flows)), place)
    try:
        with urllib.request.urlopen(f"http://{place}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    finally:
        stop()
        flows.close()
    assert 'causeway_packets_total{reason="denied"} 5.0' in lines
    where = 'kind="GlobalNetworkPolicy",policy="p0",rule="0",section="ingress",tier="default"'
    assert f"causeway_rule_packets_total{{{where}}} 5.0" in lines
    assert f"causeway_rule_bytes_total{{{where}}} {5 * SIZE:.1f}" in lines
    assert 'causeway_map_entries{map="endpoints"} 3.0' in lines
    assert 'causeway_map_capacity{map="connections"} 524288.0' in lines
    assert "causeway_flow_events_total 5.0" in lines
    assert "causeway_flow_events_lost_total 0.0" in lines
    assert "causeway_policy_rounds_total 1.0" in lines
    assert not [line for line in lines if line.startswith("causeway_revision")], (
        "no agent has written its status"
    )
