"""What a node is to be depends on the last state only, whatever way led there."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import wire
from federation.identities import HOST, REMOTE_NODE
from federation.policy.tables import NO_BIT, CompiledRule, Direction, HostStage, Verdict
from federation.policy.walk import Crossing, Packet, peer_row, walk_host
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from nodeagent.control.replica import Replica, State, key_of
from nodeagent.dataplane.fake import verdict
from nodeagent.desired import Addresses, Decider
from nodeagent.drivers import Desired, DesiredPolicy, DesiredTunnels

ME = ObjectKey("Node", "dc1", "", "n1")
WEB, DB = IPv4Address("10.20.1.1"), IPv4Address("10.10.1.1")
TCP = Packet(protocol=6, destination_port=5432, source_port=40000)
World = list[dict[str, Any]]
Worlds = dict[str, World]
Steps = Iterator[list[wire.Message]]


def straight(world: World) -> Desired:
    """What the world means, without any history."""
    return Decider(ME).decide(State(revision=0, documents={key_of(d): d for d in world}))


def meaning(decided: Desired) -> Any:
    """All of it but the revision, with what a bit, a class or a rule's number stands for in its place: the numbers remember the way."""
    policy = decided.policy
    tables = policy.tables

    def holders(bit: int) -> Any:
        rows = (tables.identity_rows, tables.prefix_rows)
        return (
            None
            if bit == NO_BIT
            else [{key for key, row in found.items() if row >> bit & 1} for found in rows]
        )  # type: ignore[attr-defined]

    def line(rule: CompiledRule) -> Any:
        bits = [holders(bit) for bit in (rule.bit, rule.not_bit, rule.net_bit, rule.not_net_bit)]
        plain = replace(rule, bit=0, not_bit=0, net_bit=0, not_net_bit=0, rule_id=0)
        return plain, bits, tables.references[rule.rule_id]

    def both(number: int) -> Any:
        return [[line(rule) for rule in rules] for rules in tables.classes[number]]

    lists = {key: both(number) for key, number in tables.subjects.items()}
    hosts = [
        (
            host.host_endpoint,
            host.interface,
            host.addresses,
            [both(host.classes.of(stage)) for stage in HostStage],
        )
        for host in policy.hosts
    ]
    places = [
        (replace(a, class_number=0), lists[key])
        for a in policy.attachments
        for key in lists
        if key.path == a.endpoint
    ]
    assert len(places) == len(policy.attachments)
    return (
        lists,
        places,
        hosts,
        dict(policy.addresses),
        set(tables.prefix_rows),
        decided.tunnels,
        decided.routes,
        decided.faults,
    )


def changes(before: World, after: World) -> list[wire.Message]:
    old, new = ({key_of(d): d for d in world} for world in (before, after))
    gone: list[wire.Message] = [wire.Delete(*key) for key in old.keys() - new.keys()]
    return gone + [wire.Upsert(d) for key, d in new.items() if old.get(key) != d]


def as_snapshots(path: list[World]) -> Steps:
    for world in path:
        yield [wire.Begin("snapshot", 1), *map(wire.Upsert, world), wire.InSync(1)]


def as_changes(path: list[World]) -> Steps:
    for before, after in itertools.pairwise([[], *path]):
        yield [wire.Begin("resume", 1), *changes(before, after), wire.InSync(1)]


def split(path: list[World]) -> Steps:
    """Every change a transaction of its own."""
    for step in as_changes(path):
        for message in step[1:-1]:
            yield [message, wire.Commit(1)]


def squashed(path: list[World]) -> Steps:
    """All changes in one transaction."""
    yield [*itertools.chain.from_iterable(step[1:-1] for step in as_changes(path)), wire.Commit(1)]


def duplicated(path: list[World]) -> Steps:
    for step in as_changes(path):
        yield [*step[:-1], *step[1:-1], step[-1]]
        yield step


def with_empties_between(path: list[World]) -> Steps:
    yield from as_changes([world for step in path for world in ([], step)])


def with_lost_connections(path: list[World]) -> Steps:
    """Every transaction breaks in the middle once, and is said again."""
    for step in as_changes(path):
        yield step[: max(1, len(step) // 2)]
        yield step


def shuffled(path: list[World]) -> Steps:
    chance = random.Random(len(path))
    for before, after in itertools.pairwise([[], *path]):
        step = changes(before, after)
        chance.shuffle(step)
        yield [*step, wire.Commit(1)]


WAYS: list[Callable[[list[World]], Steps]] = [
    as_snapshots, as_changes, split, squashed, duplicated, with_empties_between, with_lost_connections, shuffled,
]  # fmt: skip


def led(path: list[World], way: Callable[[list[World]], Steps]) -> Desired:
    """What a decider says that has seen, and decided, every step."""
    replica, decider = Replica(State()), Decider(ME)
    replica.take(wire.Begin("snapshot", 1))
    replica.take(wire.InSync(1))
    decided = decider.decide(replica.state)
    for step in way(path):
        for message in step:
            state = replica.take(message)
            if state is not None:
                decided = decider.decide(state)
    return decided


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("is_reversed", [False, True], ids=["forward", "reversed"])
def test_only_the_last_state_matters(
    worlds: Worlds, way: Callable[[list[World]], Steps], is_reversed: bool
) -> None:
    path = list(worlds.values())
    if is_reversed:
        path.reverse()
    for end in range(1, len(path) + 1):
        assert meaning(led(path[:end], way)) == meaning(straight(path[end - 1]))


def test_the_journal_names_all_that_differs_between_two_states(worlds: Worlds) -> None:
    """Any two of a long walk from world to world, also those with many between them."""
    chance, decider = random.Random(7), Decider(ME)
    known: list[DesiredPolicy] = []
    for name in chance.choices(sorted(worlds), k=60):
        state = State(revision=0, documents={key_of(d): d for d in worlds[name]})
        known.append(decider.decide(state).policy)
    told = 0
    for old, new in itertools.combinations(known, 2):
        assert new.journal is not None
        touched = new.journal.between(old.serial, new.serial)
        pairs = (
            (touched.identities, old.tables.identity_rows, new.tables.identity_rows),
            (touched.nets, old.tables.prefix_rows, new.tables.prefix_rows),
            (touched.addresses, old.addresses, new.addresses),
        )
        for names, before, after in pairs:
            rows: tuple[Any, Any] = (before, after)
            if names is not None:
                told += 1
                assert {
                    k for k in rows[0].keys() | rows[1].keys() if rows[0].get(k) != rows[1].get(k)
                } <= set(names)
    assert told > 1000


def test_every_world_is_told_from_every_other(worlds: Worlds) -> None:
    """Else the sequences above would prove nothing."""
    decided = {name: meaning(straight(world)) for name, world in worlds.items()}
    for one, other in itertools.combinations(decided, 2):
        assert decided[one] != decided[other], f"{one!r} and {other!r}"


def test_the_order_of_documents_does_not_matter(worlds: Worlds) -> None:
    for world in worlds.values():
        assert meaning(straight(world[::-1])) == meaning(straight(world))


def test_an_unchanged_state_is_decided_without_compiling_and_with_its_revision(worlds: Worlds) -> None:
    decider = Decider(ME)
    state = State(revision=4, documents={key_of(d): d for d in worlds["linked and open"]})
    first, second = decider.decide(state), decider.decide(replace(state, revision=9))
    assert (first.revision, second.revision) == (4, 9)
    assert second.policy is first.policy


def test_a_state_that_failed_is_not_taken_for_decided(worlds: Worlds) -> None:
    decider = Decider(ME)
    good = State(revision=1, documents={key_of(d): d for d in worlds["linked"]})
    decided = decider.decide(good)
    broken = dict(worlds["linked and open"][-1])
    broken["spec"] = {"selector": "app ==", "types": ["Ingress"]}
    bad = State(revision=2, documents={**good.documents, key_of(broken): broken})
    for _ in range(2):
        with pytest.raises(Exception, match="at character"):
            decider.decide(bad)
    again = decider.decide(replace(good, revision=3))
    assert (again.revision, meaning(again)) == (3, meaning(decided))


def asking(*names: str) -> World:
    """Documents of a policy that asks for a label of each name."""
    rules = [{"action": "Allow", "source": {"selector": f"{name} == 'x'"}} for name in names]
    spec = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": rules}
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "many"},
        "spec": spec,
    }
    return [document]


def test_numbers_of_bits_do_not_grow_with_what_has_gone(worlds: Worlds) -> None:
    decider, alone = Decider(ME), worlds["alone"]
    for world in (asking(*(f"l{n}" for n in range(400))), asking("l399"), asking("l399", "m")):
        documents = {key_of(d): d for d in [*alone, *world]}
        decided = decider.decide(State(revision=1, documents=documents))
    assert decided.policy.tables.bit_count < 80
    assert meaning(decided) == meaning(straight([*alone, *asking("l399", "m")]))


OWNERS = [ObjectKey("Endpoint", "dc1", "x", name) for name in "ab"] + [
    ObjectKey("Node", "dc1", "", name) for name in "mn"
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(OWNERS), st.dictionaries(st.sampled_from(range(3)), st.integers(1, 9), max_size=2)
        ),
        max_size=12,
    )
)
def test_an_address_is_the_same_owner_s_whoever_came_first(
    claims: list[tuple[ObjectKey, dict[int, int]]],
) -> None:
    addresses, held = Addresses(), dict[ObjectKey, dict[IPv4Address, Any]]()
    for owner, numbers in claims:
        held[owner] = {IPv4Address(n): number for n, number in numbers.items()}
        addresses.replace(owner, held[owner])
    wanted: dict[IPv4Address, Any] = {}
    for owner in sorted(held, key=lambda key: (key.kind == "Endpoint", key)):
        wanted |= held[owner]
    assert addresses.known == wanted


def test_a_policy_judges_at_the_endpoint(worlds: Worlds) -> None:
    said = {name: straight(worlds[name]).policy for name in ("linked and open", "linked and closed")}
    assert verdict(said["linked and open"], WEB, DB, TCP) is Verdict.ALLOW
    assert verdict(said["linked and closed"], WEB, DB, TCP) is Verdict.DENY


def test_host_endpoints_of_the_own_node_come_with_their_lists(worlds: Worlds) -> None:
    policy = straight(worlds["with one of another interface"]).policy
    assert [(h.host_endpoint, h.interface) for h in policy.hosts] == [("dc1/wall", "eth1"), ("dc1/all", "*")]
    assert [h.addresses for h in policy.hosts] == [(IPv4Address("192.0.2.77"),), (IPv4Address("192.0.2.10"),)]
    assert policy.addresses[IPv4Address("192.0.2.77")] == HOST
    other = straight(worlds["with the other on another node"]).policy
    assert [h.host_endpoint for h in other.hosts] == ["dc1/all"]
    assert other.addresses[IPv4Address("192.0.2.77")] == REMOTE_NODE
    assert straight(worlds["with a host endpoint as peer"]).policy.hosts == ()


def test_what_comes_to_the_own_host_and_through_it_meets_its_host_endpoint(worlds: Worlds) -> None:
    for name, is_forwarded, port, wanted in (
        ("with its profile", False, 22, Verdict.ALLOW),
        ("with its profile", False, 80, Verdict.DENY),
        ("with its profile", True, 22, Verdict.DENY),
    ):
        policy = straight(worlds[name]).policy
        (host,) = policy.hosts
        row = peer_row(policy.tables, policy.addresses[WEB], WEB)
        crossing = Crossing(
            direction=Direction.INGRESS, row=row, own_row=0, packet=Packet(protocol=6, destination_port=port), is_forwarded=is_forwarded,
        )  # fmt: skip
        assert walk_host(policy.tables, host.classes, crossing)[0] is wanted
    policy = straight([d for d in worlds["with its profile"] if d["kind"] != "GlobalNetworkPolicy"]).policy
    crossing = replace(crossing, is_forwarded=False)
    assert walk_host(policy.tables, policy.hosts[0].classes, crossing)[0] is Verdict.ALLOW


def test_a_selector_finds_a_host_endpoint_at_the_address_that_it_expects(worlds: Worlds) -> None:
    policy = straight(worlds["with a host endpoint as peer"]).policy
    peers = [IPv4Address(text) for text in ("192.0.2.20", "100.64.0.20", "192.0.2.10")]
    assert [verdict(policy, peer, DB, TCP) for peer in peers] == [Verdict.ALLOW, Verdict.DENY, Verdict.DENY]


def test_a_profile_without_rules_closes_its_namespace(worlds: Worlds) -> None:
    said = [
        verdict(straight(worlds[name]).policy, WEB, DB, TCP)
        for name in ("linked", "with a profile of the namespace")
    ]
    assert said == [Verdict.ALLOW, Verdict.DENY]


def test_a_link_opens_routes_and_tunnel_to_the_other_node_only_with_its_key(worlds: Worlds) -> None:
    linked = straight(worlds["linked"])
    assert linked.tunnels.address is not None
    assert str(linked.tunnels.address) == "100.64.0.10/32"
    assert [peer.name for peer in linked.tunnels.peers] == ["aws1/n1"]
    assert IPv4Network("10.20.1.0/24") in linked.routes.via_tunnel
    keyless = [
        {**d, "spec": {k: v for k, v in d["spec"].items() if k != "wireguard"}} for d in worlds["linked"]
    ]
    assert (straight(keyless).tunnels.peers, straight(keyless).routes.via_tunnel) == ((), ())


def test_nodes_are_known_as_themselves(worlds: Worlds) -> None:
    known = straight(worlds["linked"]).policy.addresses
    assert {known[IPv4Address(a)] for a in ("192.0.2.10", "100.64.0.10")} == {HOST}
    assert {known[IPv4Address(a)] for a in ("192.0.2.20", "100.64.0.20")} == {REMOTE_NODE}


def test_a_node_that_the_control_plane_does_not_know_has_no_tunnel_but_polices(worlds: Worlds) -> None:
    decided = straight(worlds["without the node"])
    assert decided.tunnels == DesiredTunnels()
    assert [a.endpoint for a in decided.policy.attachments] == ["dc1/shop/db"]


def test_an_endpoint_is_policed_at_all_its_addresses_of_both_families(worlds: Worlds) -> None:
    decided = straight(worlds["with IPv6"])
    assert [a.endpoint for a in decided.policy.attachments] == ["dc1/shop/db", "dc1/shop/six"]
    assert decided.faults == ()
    spec = {
        "node": "n1",
        "addresses": ["fd00::1", "10.10.1.7"],
        "interface": "veth7",
        "mac": "0a:58:00:00:00:07",
    }
    world = [d if d["metadata"]["name"] != "six" else {**d, "spec": spec} for d in worlds["with IPv6"]]
    _, six = straight(world).policy.attachments
    assert six.addresses == (IPv6Address("fd00::1"), IPv4Address("10.10.1.7"))
    assert six.mac == bytes.fromhex("0a5800000007")
    assert {straight(world).policy.addresses[a] for a in six.addresses} == {six.identity}


def test_what_cannot_be_read_is_a_fault_beside_the_rest(worlds: Worlds) -> None:
    decided = straight(worlds["with a kind that is not known"])
    assert [f.key for f in decided.faults] == ["Spell x"]
    assert meaning(replace(decided, faults=())) == meaning(straight(worlds["linked"]))


def test_the_worlds_are_documents_that_the_control_plane_would_take(worlds: Worlds) -> None:
    for document in itertools.chain.from_iterable(worlds.values()):
        if document["kind"] != "Spell":
            decode(document)
