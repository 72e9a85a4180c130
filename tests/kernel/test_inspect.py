"""What an operator is shown of the kernel: by the real maps, asked by the real command line, with and without an agent."""

from typing import Any

import pytest

from federation.policy.walk import Packet
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.inspect.names import load
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.inspect.verdict import judge
from nodeagent.dataplane.ebpf.loader import MAPS
from nodeagent.dataplane.ebpf.plan import MARK
from tests.kernel.world import DB_FROM_API, ME, World

pytestmark = pytest.mark.kernel
RULE = "GlobalNetworkPolicy p0 ingress rule 1"


@pytest.fixture
def world(node: Any) -> Any:
    made = World(node)
    yield made
    made.driver.close()


def test_every_map_is_shown_with_its_fill_and_its_memory(world: World) -> None:
    world.enforce(DB_FROM_API)
    world.driver.close()  # as if the agent were dead: what is pinned can be asked all the same
    found = {line["name"]: line for line in world.told("maps")}
    assert set(found) == set(MAPS)
    assert (found["endpoints"]["entries"], found["endpoints"]["capacity"]) == (3, 4096)
    assert found["addresses"]["entries"] == 4, "three pods and the node"
    assert found["rules"]["entries"] == 3, "the policy's two, and the end of its tier"
    assert found["rules"]["value_bytes"] == layout.RULE.size
    assert found["rules"]["memory"] >= layout.ARENA * layout.RULE.size
    assert not any(line["is_full_soon"] for line in found.values())
    assert "KEY" in world.ask("maps")


def test_a_map_that_is_nearly_full_is_warned_of(world: World) -> None:
    world.enforce()
    room = 4096 * 8 // 10 + 1
    held = world.driver.maps["endpoints"]
    held.update({layout.NUMBER.pack(100_000 + n): bytes(layout.ENDPOINT.size) for n in range(room)})
    assert "NEARLY FULL" in world.ask("maps", code=1)


def test_endpoints_are_shown_with_what_polices_them(world: World) -> None:
    world.enforce(DB_FROM_API)
    api, db, web = world.told("endpoints")
    assert [line["endpoint"] for line in (api, db, web)] == ["dc1/shop/api", "dc1/shop/db", "dc1/shop/web"]
    assert (db["interface"], db["addresses"], db["identity"]) == ("pod3", ["10.10.1.3"], 259)
    assert (db["ingress_rules"], db["egress_rules"], web["ingress_rules"]) == (3, 0, 0)
    assert {line["state"] for line in (api, db, web)} == {"policed"}
    assert db["epoch"] > 0
    text = world.ask("endpoints")
    assert "259 (dc1/shop/db)" in text
    assert "3 rules" in text
    world.driver.maps["endpoints"].delete([layout.NUMBER.pack(db["index"])])
    assert "closed off: the kernel has no entry of it" in world.ask("endpoints", code=1)


def test_connections_are_shown_with_both_ends_and_the_rule_that_let_them_through(world: World) -> None:
    world.enforce(DB_FROM_API)
    world.node.serve(3)
    assert world.node.reaches(2, 3)
    seen = world.told("conntrack")
    at_db = [line for line in seen if line["local_name"] == "dc1/shop/db"]
    assert [line["remote_name"] for line in at_db] == ["dc1/shop/api"]
    (line,) = at_db
    assert (line["protocol"], line["direction"], line["local_port"], line["rule"]) == (
        "tcp",
        "ingress",
        8080,
        RULE,
    )
    assert min(line["packets_sent"], line["packets_received"], line["expires_seconds"]) > 0
    assert line["bytes_received"] > line["packets_received"] * 40
    assert line["is_current"]
    assert world.told("conntrack", "--endpoint", "shop/web") == []
    assert RULE in world.ask("conntrack", "--endpoint", "db")
    world.enforce()
    assert "judged anew" in world.ask("conntrack", "--endpoint", "db"), "policy has changed since"
    assert "no endpoint of this node is called 'nobody'" in world.ask(
        "conntrack", "--endpoint", "nobody", code=5
    )


def test_a_verdict_is_told_step_by_step_and_as_the_agent_wants_it(world: World) -> None:
    world.enforce(DB_FROM_API)
    said = world.told("verdict", "api", "shop/db", "8080")
    egress, ingress = said["sides"]
    assert (said["verdict"], said["differs"], said["notes"]) == ("allow", False, [])
    assert egress["said"] == egress["wanted"] == {"verdict": "allow", "rule": "none"}
    assert ingress["said"] == ingress["wanted"] == {"verdict": "allow", "rule": RULE}
    denied = world.told("verdict", "10.10.1.1", "dc1/shop/db", "8080", code=1)
    assert denied["sides"][1]["said"]["rule"] == "end of tier default"
    text = world.ask("verdict", "192.0.2.7", "db", "8081", code=1)
    assert "neither an address nor a prefix of policies covers it" in text
    assert "protocol 6 is not 17" in text
    assert "the peer does not match its selector" in text
    assert "is not an endpoint of this kernel" in text
    assert "this node's own traffic" in world.ask("verdict", "host", "db", "9")
    assert "needs a PORT" in world.ask("verdict", "web", "db", code=2)
    assert "nobody here is called 'x'" in world.ask("verdict", "x", "db", "1", code=5)
    assert "neither" in world.ask("verdict", "192.0.2.1", "192.0.2.2", "1", code=5)


def test_a_prefix_is_named_that_gives_a_peer_its_bits(world: World) -> None:
    rule = {"action": "Allow", "protocol": "TCP", "source": {"nets": ["192.0.2.0/24"]}}
    world.enforce({"selector": "app == 'db'", "ingress": [rule]})
    assert "in prefix 192.0.2.0/24" in world.ask("verdict", "192.0.2.7", "db", "1")


def test_a_kernel_that_does_not_say_what_the_agent_wants_is_shouted_about(world: World) -> None:
    world.enforce(DB_FROM_API)
    rules = world.driver.maps["rules"]
    stands = {key: value for key, value in rules.items() if any(value)}
    foreign = next(key for key, value in stands.items() if layout.RULE.unpack(value)[10] == 1)
    fields = list(layout.RULE.unpack(stands[foreign]))
    fields[10] = 0  # somebody turned the allowing rule into a denying one
    rules.update({foreign: layout.RULE.pack(*fields)})
    text = world.ask("verdict", "api", "db", "8080", code=1)
    assert "THE KERNEL DOES NOT SAY WHAT THE AGENT WANTS" in text
    assert world.told("verdict", "api", "db", "8080", code=1)["differs"]


def test_names_that_are_older_than_the_maps_are_said_to_be(world: World) -> None:
    world.enforce(DB_FROM_API)
    key, value = MARK, layout.mark(99, 99)
    world.driver.maps["endpoints"].update({key: value})
    names = load(world.state_dir)
    with Pins(world.driver.generation) as pins:
        answer = judge(pins, names, ME, ("api", "db"), Packet(protocol=6, destination_port=8080))
    assert "moved on" in answer.notes[0]


def test_without_pins_or_rights_one_error_says_what_to_do(world: World) -> None:
    assert "no pins of this node" in world.ask("maps", code=5)
    world.node.pin_dir.mkdir()
    assert "holds no programs" in world.ask("endpoints", code=5)
    other = world.node.pin_dir / "0123456789ab"
    other.mkdir()
    assert "holds no programs" in world.ask("conntrack", code=5)
