"""A compiler that follows changes ends where one that begins anew does, and no moment between is wider than old and new."""

from dataclasses import fields, replace
from itertools import chain, pairwise, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.change import Change, Delta, difference
from federation.compiler.compiler import Compiler
from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, HostStage, Tables
from federation.policy.walk import Packet, peer_row, walk
from federation.policy.world import Host, World
from tests.federation.compiler.worlds import WORLD_ADDRESSES, document, numbered, worlds

PACKETS = [
    Packet(protocol=6, destination_port=80), Packet(protocol=6, destination_port=8080), Packet(protocol=17, destination_port=53),
    Packet(protocol=1, icmp_type=8),
]  # fmt: skip
NOBODY = IdentityNumber(0)


def local(endpoint: Any) -> bool:
    return bool(endpoint.metadata.cluster == "dc1")


def own_host(host: Host) -> bool:
    return host.cluster == "dc1"


def fresh(world: World) -> Compiler:
    compiler = Compiler(local, own_host)
    compiler.apply(difference(World(), world))
    return compiler


def meaning(compiler: Compiler) -> Any:
    """The tables, with what bits and numbers stand for in their place."""
    tables, asked = compiler.tables(), compiler.predicates()

    def row(bits: int) -> frozenset[str]:
        return frozenset(asked[bit].order for bit in range(bits.bit_length()) if bits >> bit & 1)

    def line(rule: CompiledRule) -> Any:
        named = {
            name: asked[value].order
            for name in ("bit", "not_bit", "net_bit", "not_net_bit")
            if (value := getattr(rule, name)) != NO_BIT
        }
        plain = replace(rule, bit=0, not_bit=0, net_bit=0, not_net_bit=0, rule_id=0)
        return plain, sorted(named.items()), tables.references[rule.rule_id]

    return (
        {number: row(bits) for number, bits in tables.identity_rows.items()},
        {net: row(bits) for net, bits in tables.prefix_rows.items()},
        {
            key: tuple(tuple(map(line, rules)) for rules in tables.classes[number])
            for key, number in classes_of(tables).items()
        },
        {asked[bit].order for bit in asked},
    )


def classes_of(tables: Tables) -> dict[Any, int]:
    """Of workloads, and of host endpoints by stage."""
    of_hosts = {(key, stage): found.of(stage) for key, found in tables.hosts.items() for stage in HostStage}
    return {**tables.subjects, **of_hosts}


@st.composite
def sequences(draw: st.DrawFn) -> list[World]:
    """Worlds that follow each other; what has one label set has one identity in all of them."""
    numbers: dict[str, IdentityNumber] = {}
    drawn = draw(st.lists(worlds(), min_size=2, max_size=4))
    mixed = []
    for one, other in zip(drawn, drawn[1:] + drawn[:1], strict=True):
        known = {(d["kind"], str(d["metadata"].get("namespace")), d["metadata"]["name"]) for d in one}
        also = [
            d
            for d in other
            if (d["kind"], str(d["metadata"].get("namespace")), d["metadata"]["name"]) not in known
            and d["kind"] != "Endpoint"
        ]
        mixed.append(one + draw(st.lists(st.sampled_from(also), unique_by=str) if also else st.just([])))
    return [numbered(documents, numbers)[0] for documents in mixed]


def parts(change: Change, turn: int) -> list[Change]:
    """A change as two, its keys dealt by turns."""
    halves: list[dict[str, Any]] = [{}, {}]
    for each in fields(change):
        values = getattr(change, each.name)
        for half in (0, 1):
            halves[half][each.name] = {
                key: value for n, (key, value) in enumerate(values.items()) if (n + turn) % 2 == half
            }
    return [Change(**half) for half in halves]


@settings(max_examples=120, deadline=None)
@given(sequences(), st.booleans(), st.booleans())
def test_any_sequence_of_changes_ends_in_the_tables_of_a_fresh_build(
    states: list[World], is_split: bool, is_repeated: bool
) -> None:
    compiler = Compiler(local, own_host)
    before = World()
    for turn, world in enumerate(states):
        change = difference(before, world)
        for part in parts(change, turn) if is_split else [change]:
            compiler.apply(part)
            if is_repeated:
                again = compiler.apply(part)
                assert not again.identity_rows
                assert not again.prefix_rows
                assert again.is_in_place
        before = world
        assert meaning(compiler) == meaning(fresh(world))
    compiler.apply(difference(before, World()))
    nothing = compiler.tables()
    assert (nothing.identity_rows, nothing.prefix_rows) == ({}, {})
    assert classes_of(nothing) == {}
    assert not any(chain.from_iterable(nothing.classes))


@settings(max_examples=80, deadline=None)
@given(sequences())
def test_no_moment_of_a_change_in_place_is_wider_than_old_and_new(states: list[World]) -> None:
    compiler = Compiler(local, own_host)
    compiler.apply(difference(World(), states[0]))
    for before, after in pairwise(states):
        whole = difference(before, after)
        for each in fields(whole):  # one kind of thing at a time, as most changes come
            old = compiler.tables()
            delta = compiler.apply(Change(**{each.name: getattr(whole, each.name)}))
            if delta.is_in_place:
                stand(old, delta, compiler.tables(), after)


def stand(old: Tables, delta: Delta, new: Tables, world: World) -> None:
    """Every moment's verdict is the old one or the new one, of all who were and are there."""
    identities = {**old.identity_rows, **delta.first_identity_rows}
    prefixes = {**old.prefix_rows, **delta.first_prefix_rows}
    moments = [
        replace(old, identity_rows=identities),
        replace(old, identity_rows=identities, prefix_rows=prefixes),
        replace(new, identity_rows=identities, prefix_rows=prefixes),
        replace(new, prefix_rows=prefixes),
    ]
    tables = [old, new, *moments]
    known = old.identity_rows.keys() & new.identity_rows.keys() | {WORLD}
    addresses = [*WORLD_ADDRESSES, *(a for e in world.endpoints.values() for a in e.spec.addresses)]
    covers = [[peer_row(t, NOBODY, a) for t in tables] for a in dict.fromkeys(addresses)]
    rows = {
        tuple(cover[i] | t.identity_rows.get(n, 0) for i, t in enumerate(tables))
        for n in known
        for cover in covers
    }
    own_sides = sorted(rows)[:3]
    numbers = [classes_of(t) for t in tables]
    lists = {
        (d, *(t.classes[n[key]][d] for t, n in zip(tables[:2], numbers[:2], strict=True))): key
        for key in numbers[0].keys() & numbers[1].keys()
        for d in Direction
    }
    for (direction, *_), key in lists.items():  # subjects whose lists are the same fare the same
        sides = own_sides if isinstance(key, tuple) else [own_sides[0]]
        for met, own, packet in product(rows, sides, PACKETS):
            said = [
                walk(t, n[key], direction, row, packet, own_row)
                for t, n, row, own_row in zip(tables, numbers, met, own, strict=True)
            ]
            fates = [(verdict, rule is None) for verdict, rule in said]
            assert set(fates[2:]) <= set(fates[:2]), (key, met, packet, direction, said)


def test_what_rules_ask_of_both_ends_is_not_changed_row_by_row() -> None:
    """Two namespaces change colours: between the two rows both would be red, which the host lets pass neither before nor after."""
    red = {"namespaceSelector": "colour == 'red'"}
    policy = {
        "selector": "role == 'host'", "applyOnForward": True, "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": red, "destination": red}],
    }  # fmt: skip
    documents = [
        document("Endpoint", "a", {"node": "m", "addresses": ["10.10.1.1"]}, cluster="dc1", namespace="a"),
        document("Endpoint", "b", {"node": "n", "addresses": ["10.10.1.2"]}, cluster="dc1", namespace="b"),
        document("HostEndpoint", "h", {"node": "n", "interfaceName": "*"}, cluster="dc1", labels={"role": "host"}),
        document("GlobalNetworkPolicy", "p", policy),
    ]  # fmt: skip
    for spaces, is_in_place in (({"a": "blue", "b": "red"}, False), ({"a": "red", "b": "green"}, True)):
        world, _ = numbered(documents)
        before = replace(
            world, namespace_labels={("dc1", "a"): {"colour": "red"}, ("dc1", "b"): {"colour": "blue"}}
        )
        after = replace(
            world, namespace_labels={("dc1", name): {"colour": colour} for name, colour in spaces.items()}
        )
        delta = fresh(before).apply(difference(before, after))
        assert delta.is_in_place is is_in_place
