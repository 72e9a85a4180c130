"""Laws of the writes: no packet meets half a policy, what is the same is not written, only the last state matters."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import DriverError
from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.dataplane.ebpf import layout, plan
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.plan import Bank, Delete, Place, Standing, Sweep, Update
from nodeagent.drivers import DesiredPolicy

ADDRESSES = [IPv4Address("10.0.0.0") + n for n in range(3)]
PEERS = [*ADDRESSES[1:], IPv4Address("10.0.1.1"), IPv4Address("192.0.2.1")]
NETS = [IPv4Network(text) for text in ("10.0.0.0/8", "10.0.0.0/30", "10.0.0.2/32", "0.0.0.0/0")]
PACKETS = [Packet(protocol=6, destination_port=80), Packet(protocol=17, destination_port=53)]
ALLOW, DENY, PASS = RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS
PROBES = list(product((1, 2, 3), Direction, PEERS, PACKETS))
State = tuple[DesiredPolicy, dict[int, tuple[IPv4Address, int]]]
"""The desired policy, and per interface's index its endpoint's address and class."""

bits = st.sampled_from([NO_BIT, 0, 1, 70])


@st.composite
def lists(draw: st.DrawFn) -> tuple[CompiledRule, ...]:
    size = draw(st.integers(0, 4))
    return tuple(
        CompiledRule(
            action=(action := draw(st.sampled_from([ALLOW, DENY, PASS]))),
            bit=draw(bits), net_bit=draw(bits), not_bit=draw(bits),
            protocol=draw(st.sampled_from([0, 6, 17])), next_tier=draw(st.integers(n + 1, size)) if action is PASS else 0, rule_id=n,
        )
        for n in range(size)
    )  # fmt: skip


@st.composite
def states(draw: st.DrawFn) -> State:
    row = st.sampled_from([0, 1, 2, 3, 1 << 70, (1 << 70) | 1])
    numbers = [IdentityNumber(300 + n) for n in range(3)]
    classes = draw(st.lists(st.tuples(lists(), lists()), min_size=1, max_size=3))
    tables = Tables(
        bit_count=71,
        identity_rows=draw(st.dictionaries(st.sampled_from([*numbers, WORLD]), row)),
        prefix_rows=draw(st.dictionaries(st.sampled_from(NETS), row)),
        classes=tuple(classes),
    )
    addresses = draw(st.dictionaries(st.sampled_from(ADDRESSES), st.sampled_from(numbers)))
    placed = draw(
        st.dictionaries(
            st.integers(1, 3), st.tuples(st.sampled_from(ADDRESSES), st.integers(0, len(classes) - 1))
        )
    )
    return DesiredPolicy(tables=tables, addresses=addresses), placed


def places(state: State) -> dict[int, Place]:
    desired, placed = state
    return {
        index: Place(address, IdentityNumber(300), plan.lists_of(desired.tables, number))
        for index, (address, number) in placed.items()
    }


def planned(standing: Standing, state: State) -> plan.Plan:
    return plan.plan(standing, plan.bank_of(state[0]), places(state))


def expected(state: State) -> dict[Any, Verdict]:
    """What the pure walk says; an interface that is nobody's is denied."""
    desired, placed = state
    said: dict[Any, Verdict] = {}
    for probe in PROBES:
        index, direction, peer, packet = probe
        said[probe] = Verdict.DENY
        if index in placed:
            row = peer_row(desired.tables, desired.addresses.get(peer, WORLD), peer)
            said[probe] = walk(desired.tables, placed[index][1], direction, row, packet)[0]
    return said


def judged(maps: Any) -> dict[Any, Verdict]:
    return {probe: maps.judge(*probe) for probe in PROBES}


def run(maps: Any, sequence: Iterable[State], standing: Standing | None = None) -> Standing:
    standing = standing or Standing()
    for state in sequence:
        todo = planned(standing, state)
        for write in todo.writes:
            maps.apply(write)
        standing = todo.standing
    return standing


@settings(max_examples=30, deadline=None)
@given(sequence=st.lists(states(), min_size=1, max_size=4))
def test_after_every_single_write_each_verdict_is_the_old_or_the_new_one(
    new_maps: Any, sequence: list[State]
) -> None:
    maps, standing = new_maps(), Standing()
    before = judged(maps)
    for state in sequence:
        after = expected(state)
        todo = planned(standing, state)
        for write in todo.writes:
            maps.apply(write)
            for probe, verdict in judged(maps).items():
                assert verdict in (before[probe], after[probe]), (write, probe)
        assert judged(maps) == after
        before, standing = after, todo.standing


@settings(max_examples=30, deadline=None)
@given(sequence=st.lists(states(), min_size=1, max_size=4))
def test_only_the_last_state_matters(new_maps: Any, sequence: list[State]) -> None:
    empty = (DesiredPolicy(), {})
    last = sequence[-1]
    orders = [
        sequence, [last], [*reversed(sequence), last], [s for s in sequence for _ in range(2)],
        [s for state in sequence for s in (state, empty)] + [last],
    ]  # fmt: skip
    sizes = []
    for order in orders:
        maps = new_maps()
        run(maps, order)
        assert judged(maps) == expected(last)
        sizes.append({name: len(held) for name, held in maps.held.items() if name != "rules"})
    assert all(size == sizes[0] for size in sizes), "something is left behind"


@settings(max_examples=30, deadline=None)
@given(sequence=st.lists(states(), min_size=1, max_size=3))
def test_a_converged_state_plans_nothing(new_maps: Any, sequence: list[State]) -> None:
    standing = run(new_maps(), sequence)
    assert planned(standing, sequence[-1]).writes == ()
    assert planned(standing, sequence[-1]).standing == standing


@settings(max_examples=30, deadline=None)
@given(first=states(), second=states(), third=states(), died_after=st.integers(0, 12))
def test_an_agent_that_died_between_two_writes_is_followed_by_one_that_gets_it_right(
    new_maps: Any, first: State, second: State, third: State, died_after: int
) -> None:
    maps = new_maps()
    standing = run(maps, [first])
    for write in planned(standing, second).writes[:died_after]:
        maps.apply(write)
    before, after = judged(maps), expected(third)
    todo = planned(plan.adopted(maps.held["endpoints"]), third)
    for write in todo.writes:
        maps.apply(write)
        for probe, verdict in judged(maps).items():
            assert verdict in (before[probe], after[probe])
    assert judged(maps) == expected(third)
    clean = new_maps()
    run(clean, [third])
    for name in layout.BANKED:
        assert len(maps.held[name]) == len(clean.held[name]), f"{name} keeps what nobody names"


def state_of(bit: int = 0, row: int = 1, **more: Any) -> State:
    rules = (CompiledRule(action=ALLOW, bit=bit, rule_id=1), CompiledRule(action=DENY))
    tables = Tables(bit_count=2, identity_rows={IdentityNumber(300): row}, classes=((rules, ()),))
    known = more.get("addresses", {ADDRESSES[0]: IdentityNumber(300)})
    return DesiredPolicy(tables=tables, addresses=known), more.get("placed", {1: (ADDRESSES[1], 0)})


def kinds(todo: plan.Plan) -> list[str]:
    words = {Update: "write", Delete: "remove", Sweep: "sweep"}
    return [f"{words[type(write)]} {write.map}" for write in todo.writes]


def test_rows_come_before_the_rules_that_name_their_bits_and_old_bits_go_last(maps: Any) -> None:
    standing = run(maps, [state_of()])
    todo = planned(standing, state_of(bit=1, row=2))
    assert kinds(todo) == [
        "write endpoints", "write identity_rows", "write addresses", "write rules", "write endpoints",
        "remove identity_rows", "remove addresses",
    ]  # fmt: skip
    assert list(todo.writes[0].entries) == [plan.MARK]


def test_a_new_address_is_written_in_place_and_alone(maps: Any) -> None:
    standing = run(maps, [state_of()])
    more = {ADDRESSES[0]: IdentityNumber(300), ADDRESSES[2]: IdentityNumber(300)}
    todo = planned(standing, state_of(addresses=more))
    assert kinds(todo) == ["write endpoints", "write addresses", "write endpoints"]
    (address,) = todo.writes[1].entries
    assert address.endswith(ADDRESSES[2].packed)


def test_a_new_endpoint_leaves_the_others_connections_alone(maps: Any) -> None:
    standing = run(maps, [state_of()])
    todo = planned(standing, state_of(placed={1: (ADDRESSES[1], 0), 2: (ADDRESSES[2], 0)}))
    assert kinds(todo) == ["write endpoints", "write endpoints"]
    assert list(todo.writes[1].entries) == [layout.NUMBER.pack(2)]
    assert todo.standing.entries[1] == standing.entries[1]


def test_a_changed_bank_makes_every_live_connection_be_judged_again(maps: Any) -> None:
    standing = run(maps, [state_of()])
    after = planned(standing, state_of(row=0)).standing
    assert after.entries[1].epoch > standing.entries[1].epoch


def test_epochs_and_banks_never_come_back_even_when_the_newest_endpoint_is_gone(maps: Any) -> None:
    standing = run(maps, [state_of(), state_of(row=3), state_of(placed={})])
    learnt = plan.adopted(maps.held["endpoints"])
    assert (learnt.epoch, learnt.bank_number) == (standing.epoch, standing.bank_number)
    assert learnt.entries == {}
    after = planned(learnt, state_of()).standing
    assert after.epoch > standing.epoch
    assert after.bank_number > standing.bank_number


def test_rules_are_never_written_over_a_list_that_a_former_agents_entries_name(maps: Any) -> None:
    run(maps, [state_of()])
    taken = dict(maps.held["rules"])
    todo = planned(plan.adopted(maps.held["endpoints"]), state_of(bit=1))
    (rules,) = (write for write in todo.writes if write.map == "rules")
    assert all(taken.get(key, value) == value for key, value in rules.entries.items())


def test_a_list_without_room_is_denied_and_said_so_and_the_others_are_enforced() -> None:
    def long(number: int) -> tuple[CompiledRule, ...]:
        return tuple(CompiledRule(action=ALLOW, rule_id=number) for _ in range(layout.MAX_RULES))

    count = layout.ARENA // layout.MAX_RULES
    given_places = {n + 1: Place(ADDRESSES[0], IdentityNumber(300), (long(n), ())) for n in range(count)}
    todo = plan.plan(Standing(), Bank(), given_places)
    assert len(todo.without_room) == 1
    (refused,) = todo.without_room
    assert todo.standing.entries[refused].extents[0] == plan.DENIED
    for one, other in pairwise(
        sorted((e.extents[0] for e in todo.standing.entries.values()), key=lambda e: e.start)
    ):
        assert one.start + one.size <= other.start
    again = plan.plan(todo.standing, Bank(), {refused: given_places[refused]})
    assert again.without_room == frozenset({refused}), (
        "its room is free only after the others' entries are gone"
    )
    assert plan.plan(again.standing, Bank(), {refused: given_places[refused]}).without_room == frozenset()


def test_gaps_of_the_arena_are_used_first_and_the_last_place_is_kept() -> None:
    assert plan.allocate([], 5) == 0
    assert plan.allocate([Extent(10, 5), Extent(0, 4)], 6) == 4
    assert plan.allocate([Extent(10, 5), Extent(0, 4)], 7) == 15
    with pytest.raises(DriverError, match="no room"):
        plan.allocate([], layout.ARENA)


def test_a_list_that_the_programs_cannot_walk_is_denied() -> None:
    line = CompiledRule(action=ALLOW)
    tables = Tables(classes=(((line,) * (layout.MAX_RULES + 1), (line,)),))
    assert plan.lists_of(tables, 0) == (plan.DENY_ALL, (line,))
    assert plan.lists_of(Tables(bit_count=layout.ROW_BITS + 1, classes=(((line,), ()),)), 0) == (plan.DENY_ALL, plan.DENY_ALL)  # fmt: skip


def test_each_address_knows_the_longest_prefix_that_covers_it() -> None:
    desired = DesiredPolicy(
        tables=Tables(prefix_rows=dict.fromkeys(NETS[:3], 1)),
        addresses={ADDRESSES[2]: IdentityNumber(300), IPv4Address("10.0.0.9"): IdentityNumber(300), PEERS[-1]: IdentityNumber(300)},
    )  # fmt: skip
    bank = plan.bank_of(desired)
    assert [bank.addresses[a][1] for a in (ADDRESSES[2], IPv4Address("10.0.0.9"), PEERS[-1])] == [
        bank.prefixes[NETS[2]], bank.prefixes[NETS[0]], 0,
    ]  # fmt: skip


def test_only_what_shows_no_packet_a_wrong_row_is_added_in_place() -> None:
    a, b = IdentityNumber(300), IdentityNumber(301)
    old = Bank(addresses={ADDRESSES[0]: (a, 0)}, identity_rows={a: 1})
    both = {ADDRESSES[0]: (a, 0), ADDRESSES[1]: (b, 0)}
    assert plan.is_extension(old, Bank(addresses=both, identity_rows={a: 1, b: 1}))
    assert not plan.is_extension(old, Bank(addresses=both, identity_rows={a: 2, b: 1}))
    assert not plan.is_extension(old, Bank(addresses={ADDRESSES[0]: (b, 0)}, identity_rows={a: 1}))
    assert not plan.is_extension(old, Bank())
    assert not plan.is_extension(old, Bank(addresses=both, identity_rows={a: 1}, prefixes={NETS[0]: 1}))
    assert not plan.is_extension(old, Bank(addresses=both, identity_rows={a: 1, WORLD: 1}))
