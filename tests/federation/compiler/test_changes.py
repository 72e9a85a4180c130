"""A compiler that follows changes ends where one that begins anew does, and no moment between is wider than old and new."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.change import Change, Delta, difference
from federation.compiler.compiler import Compiler
from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, Tables
from federation.policy.walk import Packet, peer_row, walk
from federation.policy.world import World
from tests.federation.compiler.test_compile import WORLD_ADDRESSES, numbered, worlds

PACKETS = [
    Packet(protocol=6, destination_port=80), Packet(protocol=6, destination_port=8080), Packet(protocol=17, destination_port=53),
    Packet(protocol=1, icmp_type=8),
]  # fmt: skip
NOBODY = IdentityNumber(0)


def local(endpoint: Any) -> bool:
    return bool(endpoint.metadata.cluster == "dc1")


def fresh(world: World) -> Compiler:
    compiler = Compiler(local)
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
            for key, number in tables.subjects.items()
        },
        {asked[bit].order for bit in asked},
    )


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
    compiler = Compiler(local)
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
    assert (nothing.identity_rows, nothing.prefix_rows, nothing.subjects) == ({}, {}, {})


@settings(max_examples=120, deadline=None)
@given(sequences())
def test_no_moment_of_a_change_in_place_is_wider_than_old_and_new(states: list[World]) -> None:
    compiler = Compiler(local)
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
    lists = {
        (d, *(t.classes[t.subjects[key]][d] for t in (old, new))): key
        for key in old.subjects.keys() & new.subjects.keys()
        for d in Direction
    }
    for (direction, *_), key in lists.items():  # subjects whose lists are the same fare the same
        for met in rows:
            for packet in PACKETS:
                said = [
                    walk(t, t.subjects[key], direction, row, packet)[0]
                    for t, row in zip(tables, met, strict=True)
                ]
                assert set(said[2:]) <= set(said[:2]), (key, met, packet, direction, said)
