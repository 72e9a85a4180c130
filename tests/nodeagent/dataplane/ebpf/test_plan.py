"""Laws of the writes: no packet meets half a policy, what is the same is not written, only the last state matters."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import pairwise, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.identities import HOST, WORLD, IdentityNumber
from federation.policy.tables import (
    NO_BIT,
    CompiledRule,
    Direction,
    HostClasses,
    RuleAction,
    RuleReference,
    Tables,
    Verdict,
)
from federation.policy.walk import Crossing, Packet, peer_row, walk, walk_host
from nodeagent.dataplane.ebpf import arena, layout, plan
from nodeagent.dataplane.ebpf.hosts import faces
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.plan import HostPlace, Place, Planner
from nodeagent.dataplane.ebpf.writes import Delete, Sweep, Update
from nodeagent.drivers import ANYTHING, Address, DesiredPolicy, HostAttachment, Touched

ADDRESSES: list[Address] = [
    IPv4Address("10.0.0.0"),
    IPv4Address("10.0.0.1"),
    IPv4Address("10.0.0.2"),
    IPv6Address("a00::1"),
]
PEERS = [*ADDRESSES[1:], IPv4Address("10.0.1.1"), IPv4Address("192.0.2.1"), IPv6Address("a00::2")]
NETS = [
    ip_network(text)
    for text in ("10.0.0.0/8", "10.0.0.0/30", "10.0.0.2/32", "0.0.0.0/0", "a00::/8", "::/0", "a00::1/128")
]  # the same first bits in both families: neither may show in the other
PACKETS = [Packet(protocol=6, destination_port=80), Packet(protocol=17, destination_port=53)]
ALLOW, DENY, PASS, LOG = RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS, RuleAction.LOG
NEVER = CompiledRule(action=DENY, bit=0, protocol=132)
"""Matches no packet of those; a row without the bit passes over blocks of it."""
PROBES = list(product((1, 2, 3), Direction, PEERS, PACKETS))
HOST_PROBES = list(product((5, 6), Direction, PEERS[1:4], [*ADDRESSES[:2], PEERS[-1]], PACKETS))
"""Of interfaces of the node: who is outside, and who on the node's side."""
State = tuple[DesiredPolicy, dict[int, tuple[Address, int]]]
"""The desired policy, whose host endpoints' interfaces are called by their indexes; and per interface's index its endpoint's address and
class."""

bits = st.sampled_from([NO_BIT, 0, 1, 70])


@st.composite
def lists(draw: st.DrawFn, *, of_host: bool = False) -> tuple[CompiledRule, ...]:
    before = draw(st.sampled_from([(), (), (), (NEVER,) * layout.SUMMARIZED_FROM]))
    size = len(before) + draw(st.integers(0, 4))
    return before + tuple(
        CompiledRule(
            action=(action := draw(st.sampled_from([ALLOW, DENY, PASS, LOG]))),
            bit=draw(bits), net_bit=draw(bits), not_bit=draw(bits),
            is_own=of_host and action is PASS and draw(st.booleans()),
            protocol=draw(st.sampled_from([0, 6, 17])), next_tier=draw(st.integers(n + 1, size)) if action.goes_on else 0, rule_id=n,
        )
        for n in range(len(before), size)
    )  # fmt: skip


@st.composite
def states(draw: st.DrawFn) -> State:
    row = st.sampled_from([0, 1, 2, 3, 1 << 70, (1 << 70) | 1])
    numbers = [IdentityNumber(300 + n) for n in range(3)]
    classes = draw(st.lists(st.tuples(lists(), lists()), min_size=1, max_size=3))
    number_of_endpoint = st.integers(0, len(classes) - 1)
    of_host = st.one_of(st.just(()), lists(of_host=True))
    classes += draw(st.lists(st.tuples(of_host, of_host), min_size=2, max_size=2))
    classes.append((draw(of_host), ()))
    number = st.integers(0, len(classes) - 2)
    host = st.builds(
        HostClasses, untracked=number, pre_dnat=st.just(len(classes) - 1), forward=number, normal=number
    )
    tables = Tables(
        bit_count=71,
        identity_rows=draw(st.dictionaries(st.sampled_from([*numbers, WORLD]), row)),
        prefix_rows=draw(st.dictionaries(st.sampled_from(NETS), row)),
        classes=tuple(classes),
    )
    addresses = draw(st.dictionaries(st.sampled_from(ADDRESSES), st.sampled_from([*numbers, HOST])))
    placed = draw(
        st.dictionaries(st.integers(1, 3), st.tuples(st.sampled_from(ADDRESSES), number_of_endpoint))
    )
    hosts = tuple(
        HostAttachment(host_endpoint="dc1//h", interface=str(index), classes=each)
        for index, each in draw(st.dictionaries(st.integers(5, 6), host)).items()
    )
    return DesiredPolicy(tables=tables, addresses=addresses, hosts=hosts), placed


def places(state: State) -> dict[int, Place]:
    desired, placed = state
    return {
        index: Place((address,), IdentityNumber(300), plan.lists_of(desired.tables, number), is_direct=True)
        for index, (address, number) in placed.items()
    }


def planned(planner: Planner, state: State, touched: Touched = ANYTHING) -> plan.Plan:
    return planner.plan(state[0], places(state), touched, host_places(state))


def host_places(state: State) -> dict[int, HostPlace]:
    return {int(h.interface): HostPlace(faces.lists_of(state[0].tables, h.classes)) for h in state[0].hosts}


def adopted(maps: Any) -> Planner:
    held = maps.held
    return Planner(plan.adopted(held))


def expected(state: State) -> dict[Any, Verdict]:
    """What the pure walk says; an interface that is nobody's is denied."""
    desired, placed = state
    said: dict[Any, Verdict] = {}
    for probe in PROBES:
        index, direction, peer, packet = probe
        said[probe] = Verdict.DENY
        if index in placed:
            identity = desired.addresses.get(peer, WORLD)
            row = peer_row(desired.tables, identity, peer)
            said[probe] = walk(desired.tables, placed[index][1], direction, row, packet)[0]
            if identity == HOST and direction is Direction.INGRESS:
                said[probe] = Verdict.ALLOW
    return {**said, **expected_at_hosts(desired)}


def expected_at_hosts(desired: DesiredPolicy) -> dict[Any, Verdict]:
    """At an interface of the node nothing is asked without a host endpoint."""
    said: dict[Any, Verdict] = dict.fromkeys(HOST_PROBES, Verdict.ALLOW)
    classes = {int(host.interface): host.classes for host in desired.hosts}
    for probe in HOST_PROBES:
        index, direction, outer, inner, packet = probe
        ends = [(a, desired.addresses.get(a, WORLD)) for a in (outer, inner)]
        row, own_row = (peer_row(desired.tables, identity, address) for address, identity in ends)
        crossing = Crossing(
            direction=direction, row=row, own_row=own_row, packet=packet, is_forwarded=ends[1][1] != HOST
        )
        if index in classes:
            said[probe] = walk_host(desired.tables, classes[index], crossing)[0]
    return said


def judged(maps: Any) -> dict[Any, Verdict]:
    said = {probe: maps.judge(*probe) for probe in PROBES}
    return {**said, **{probe: maps.judge_host(*probe) for probe in HOST_PROBES}}


def run(maps: Any, sequence: Iterable[State], planner: Planner | None = None) -> Planner:
    planner = planner or Planner()
    for state in sequence:
        for write in planned(planner, state).writes:
            maps.apply(write)
    return planner


@settings(max_examples=100, deadline=None)
@given(sequence=st.lists(states(), min_size=1, max_size=4))
def test_after_every_single_write_each_verdict_is_the_old_or_the_new_one(
    new_maps: Any, sequence: list[State]
) -> None:
    maps, planner = new_maps(), Planner()
    before = judged(maps)
    for state in sequence:
        after = expected(state)
        for write in planned(planner, state).writes:
            maps.apply(write)
            for probe, verdict in judged(maps).items():
                assert verdict in (before[probe], after[probe]), (write, probe)
        assert judged(maps) == after
        before = after


@settings(max_examples=100, deadline=None)
@given(sequence=st.lists(states(), min_size=2, max_size=4))
def test_where_a_verdict_changes_what_was_remembered_is_judged_again(
    new_maps: Any, sequence: list[State]
) -> None:
    """A connection remembers its endpoint's epoch and the stamp of the peer's address; a cached answer the epoch and the identity."""
    maps, planner = new_maps(), Planner()
    for state in sequence:
        before = {probe: (verdict, *remembered(maps, probe)) for probe, verdict in judged(maps).items()}
        for write in planned(planner, state).writes:
            maps.apply(write)
        for probe, verdict in judged(maps).items():
            old, connection, answer = before[probe]
            if verdict != old:
                now = remembered(maps, probe)
                assert now[0] != connection, probe
                assert now[1] != answer or answer is None, probe


def remembered(maps: Any, probe: Any) -> tuple[object, object]:
    if probe in HOST_PROBES:
        return maps.remembered_host(probe[0], probe[2], probe[3]), None
    kept: tuple[object, object] = maps.remembered(probe[0], probe[2])
    return kept


@settings(max_examples=60, deadline=None)
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
        kept = ("endpoints", "hosts", "more_addresses", "addresses", "prefixes", "identity_rows")
        sizes.append({name: len(maps.held[name]) for name in kept})
        rows = {layout.NUMBER.unpack(value)[0] for value in maps.held["prefixes"].values()}
        assert len(maps.held["prefix_rows"]) == len(rows), "a row that no prefix leads to"
    assert all(size == sizes[0] for size in sizes), "something is left behind"


@settings(max_examples=60, deadline=None)
@given(sequence=st.lists(states(), min_size=1, max_size=3))
def test_a_converged_state_plans_nothing(new_maps: Any, sequence: list[State]) -> None:
    planner = run(new_maps(), sequence)
    assert planned(planner, sequence[-1]).writes == ()


@settings(max_examples=60, deadline=None)
@given(sequence=st.lists(states(), min_size=2, max_size=4))
def test_what_is_known_not_to_differ_need_not_be_looked_at(new_maps: Any, sequence: list[State]) -> None:
    whole, told = (new_maps(), Planner()), (new_maps(), Planner())
    for old, new in pairwise([(DesiredPolicy(), {}), *sequence]):
        run(whole[0], [new], whole[1])
        touched = Touched(
            identities=differing(old[0].tables.identity_rows, new[0].tables.identity_rows),
            nets=differing(old[0].tables.prefix_rows, new[0].tables.prefix_rows),
            addresses=differing(old[0].addresses, new[0].addresses),
        )
        for write in planned(told[1], new, touched).writes:
            told[0].apply(write)
        assert judged(told[0]) == judged(whole[0]) == expected(new)
        assert sizes(told[0]) == sizes(whole[0])
        for maps, _ in (
            whole,
            told,
        ):  # which prefixes share a row depends on their order; none is there for nobody
            numbers = {layout.ROW_KEY.unpack(key)[1] for key in maps.held["prefix_rows"]}
            assert numbers == {layout.NUMBER.unpack(number)[0] for number in maps.held["prefixes"].values()}


def sizes(maps: Any) -> dict[str, int]:
    return {name: len(held) for name, held in maps.held.items() if name != "prefix_rows"}


def differing(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> set[Any]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


@settings(max_examples=60, deadline=None)
@given(first=states(), second=states(), third=states(), died_after=st.integers(0, 12))
def test_an_agent_that_died_between_two_writes_is_followed_by_one_that_gets_it_right(
    new_maps: Any, first: State, second: State, third: State, died_after: int
) -> None:
    maps = new_maps()
    planner = run(maps, [first])
    for write in planned(planner, second).writes[:died_after]:
        maps.apply(write)
    before, after = judged(maps), expected(third)
    for write in planned(adopted(maps), third).writes:
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


def test_rows_come_before_the_rules_that_name_their_bits_and_nothing_is_written_twice(maps: Any) -> None:
    planner = run(maps, [state_of()])
    todo = planned(planner, state_of(bit=1, row=2))
    assert kinds(todo) == ["write endpoints", "write identity_rows", "write rules", "write endpoints"]
    assert list(todo.writes[0].entries) == [plan.MARK]
    (row,) = todo.writes[1].entries.values()
    assert layout.ROW.unpack(row)[0] == 3, "the old list still asks the old bit"
    assert not todo.is_rebuilt


def test_a_new_address_is_written_in_place_with_its_stamp_and_alone(maps: Any) -> None:
    planner = run(maps, [state_of()])
    more = {ADDRESSES[0]: IdentityNumber(300), ADDRESSES[2]: IdentityNumber(300)}
    todo = planned(planner, state_of(addresses=more))
    assert kinds(todo) == ["write addresses", "write stamps"]
    (address,) = todo.writes[0].entries
    assert address == layout.address_key(planner.standing.bank_number, ADDRESSES[2])


def test_one_prefix_of_a_set_is_one_write_and_all_of_them_are_one_row(maps: Any) -> None:
    def state(nets: list[Any], bit: int = 0) -> State:
        rules = (CompiledRule(action=ALLOW, net_bit=bit), CompiledRule(action=DENY))
        return (
            DesiredPolicy(
                tables=Tables(bit_count=2, prefix_rows=dict.fromkeys(nets, 1 << bit), classes=((rules, ()),))
            ),
            {1: (ADDRESSES[1], 0)},
        )

    nets = [ip_network(f"172.16.{n}.0/24") for n in range(50)]
    planner = run(maps, [state(nets)])
    assert len(maps.held["prefix_rows"]) == 1
    todo = planned(planner, state([*nets[1:], ip_network("172.17.0.0/24")]))
    assert kinds(todo) == ["write endpoints", "write prefixes", "remove prefixes", "write endpoints"]
    assert [len(write.entries) for write in todo.writes if isinstance(write, Update)] == [1, 1, 1]
    for write in todo.writes:
        maps.apply(write)
    todo = planned(planner, state([*nets[1:], ip_network("172.17.0.0/24")], bit=1))
    assert kinds(todo) == ["write endpoints", "write prefix_rows", "write rules", "write endpoints"]
    assert len(todo.writes[1].entries) == 1


def test_a_pod_that_goes_with_its_identity_and_comes_back_writes_its_own_entries_only(maps: Any) -> None:
    stays = state_of(addresses={})
    bare = (replace(stays[0], tables=replace(stays[0].tables, identity_rows={})), stays[1])
    planner = run(maps, [state_of()])
    gone = planned(planner, bare)
    assert kinds(gone) == ["remove addresses", "write stamps", "remove identity_rows"]
    assert not gone.is_rebuilt
    for write in gone.writes:
        maps.apply(write)
    back = planned(planner, state_of())
    assert not back.is_rebuilt
    assert "write endpoints" in kinds(back), "a cached answer may speak of what the identity was"


def test_a_new_endpoint_leaves_the_others_connections_alone(maps: Any) -> None:
    planner = run(maps, [state_of()])
    before = planner.standing.entries[1]
    todo = planned(planner, state_of(placed={1: (ADDRESSES[1], 0), 2: (ADDRESSES[2], 0)}))
    assert kinds(todo) == ["write endpoints", "write endpoints", "write locals"]
    assert list(todo.writes[1].entries) == [layout.NUMBER.pack(2)]
    assert planner.standing.entries[1] == before


def test_what_changes_rows_and_lists_together_is_written_beside_what_stands(maps: Any) -> None:
    """A namespace is relabelled: its pods' lists change, and what they are as peers."""
    planner = run(maps, [state_of()])
    open_list = (CompiledRule(action=ALLOW),)
    tables = Tables(bit_count=2, identity_rows={IdentityNumber(300): 2}, classes=((open_list, ()),))
    other = DesiredPolicy(tables=tables, addresses={ADDRESSES[0]: IdentityNumber(300)})
    assert not planned(planner, (other, {1: (ADDRESSES[1], 0)})).is_rebuilt, (
        "nothing asks the changed bit any more"
    )
    planner = run(maps, [state_of()], Planner())
    rules = (CompiledRule(action=ALLOW, bit=0), CompiledRule(action=ALLOW, bit=1), CompiledRule(action=DENY))
    tables = Tables(bit_count=2, identity_rows={IdentityNumber(300): 2}, classes=((rules, ()),))
    other = DesiredPolicy(tables=tables, addresses={ADDRESSES[0]: IdentityNumber(300)})
    assert planned(planner, (other, {1: (ADDRESSES[1], 0)})).is_rebuilt


def host_state(outer_row: int, inner_row: int, **more: Any) -> State:
    """At interface 5 what is outside is let in when it has bit 0 and the end on the node's side bit 1."""
    outer, inner = IdentityNumber(300), IdentityNumber(301)
    lines = (
        CompiledRule(action=PASS, is_own=True, not_bit=1, next_tier=2),
        CompiledRule(action=ALLOW, bit=0),
        CompiledRule(action=DENY),
    )
    tables = Tables(
        bit_count=2,
        identity_rows={outer: outer_row, inner: inner_row},
        classes=(((), ()), (lines, lines)),
    )
    classes = HostClasses(untracked=0, pre_dnat=0, forward=1, normal=0)
    known = {ADDRESSES[1]: outer, ADDRESSES[2]: more.get("inner", inner)}
    host = HostAttachment(host_endpoint="dc1//h", interface="5", classes=classes)
    return DesiredPolicy(tables=tables, addresses=known, hosts=more.get("hosts", (host,))), {}


def test_rows_of_both_ends_of_what_passes_through_are_never_shown_half(maps: Any) -> None:
    probe = (5, Direction.INGRESS, ADDRESSES[1], ADDRESSES[2], PACKETS[0])
    planner = run(maps, [host_state(1, 0)])
    assert maps.judge_host(*probe) is Verdict.DENY
    todo = planned(planner, host_state(0, 2))
    assert todo.is_rebuilt, "with the new row at one end only it would be let in"
    planner = run(maps, [host_state(1, 2)], Planner())
    assert maps.judge_host(*probe) is Verdict.ALLOW
    assert not planned(planner, host_state(0, 2)).is_rebuilt, "only the outer end's row changes"
    planner = run(maps, [host_state(1, 2)], Planner())
    assert planned(planner, host_state(1, 2, inner=HOST)).is_rebuilt, "an address becomes the node's own"


def test_an_interface_of_the_node_is_open_before_anything_else_of_it_goes(maps: Any) -> None:
    planner = run(maps, [host_state(0, 2)])
    todo = planned(planner, host_state(0, 2, hosts=()))
    assert kinds(todo)[0] == "remove hosts"
    for write in todo.writes:
        maps.apply(write)
    assert maps.held["hosts"] == {}
    again = planned(planner, host_state(0, 2))
    assert [kind for kind in kinds(again) if kind in ("write rules", "write hosts")] == [
        "write rules",
        "write hosts",
    ]


def test_an_interface_of_the_node_whose_lists_find_no_room_is_left_open_and_said_so() -> None:
    def long(number: int) -> tuple[CompiledRule, ...]:
        return tuple(CompiledRule(action=ALLOW, rule_id=number) for _ in range(layout.MAX_RULES))

    planner = Planner()
    hosts = {n + 1: HostPlace(tuple(long(8 * n + m) for m in range(8))) for n in range(8)}
    todo = planner.plan(DesiredPolicy(), {}, hosts=hosts)
    assert len(todo.without_room) == 1
    assert planner.standing.hosts.keys() == hosts.keys() - todo.without_room


def test_epochs_and_banks_never_come_back_even_when_the_newest_endpoint_is_gone(maps: Any) -> None:
    planner = run(maps, [state_of(), state_of(row=0), state_of(placed={})])
    learnt = adopted(maps)
    known = planner.standing
    assert (learnt.standing.epoch, learnt.standing.bank_number) == (known.epoch, known.bank_number)
    assert learnt.standing.entries == {}
    run(maps, [state_of()], learnt)
    assert learnt.standing.epoch > known.epoch
    assert learnt.standing.bank_number > known.bank_number


def test_rules_are_never_written_over_a_list_that_a_former_agents_entries_name(maps: Any) -> None:
    run(maps, [state_of()])
    taken = dict(maps.held["rules"])
    todo = planned(adopted(maps), state_of(bit=1))
    for rules in (write for write in todo.writes if write.map == "rules"):
        assert all(taken.get(key, value) == value for key, value in rules.entries.items())


def test_a_number_that_another_rule_gets_begins_to_count_anew(maps: Any) -> None:
    def named(tier: str) -> State:
        desired, placed = state_of()
        references = {1: RuleReference(tier=tier, policy=None, index=None)}
        return replace(desired, tables=replace(desired.tables, references=references)), placed

    planner = run(maps, [named("a")])
    assert planned(planner, named("a")).writes == ()
    (counts,) = planned(planner, named("b")).writes
    assert counts == Update("rule_counts", {layout.NUMBER.pack(2): bytes(16)})


def test_a_list_without_room_is_denied_and_said_so_and_the_others_are_enforced() -> None:
    def long(number: int) -> tuple[CompiledRule, ...]:
        return tuple(CompiledRule(action=ALLOW, rule_id=number) for _ in range(layout.MAX_RULES))

    count = layout.ARENA // layout.MAX_RULES
    given_places = {n + 1: Place((ADDRESSES[0],), IdentityNumber(300), (long(n), ())) for n in range(count)}
    planner = Planner()
    todo = planner.plan(DesiredPolicy(), given_places)
    assert len(todo.without_room) == 1
    (refused,) = todo.without_room
    entries = planner.standing.entries
    assert entries[refused].extents[0] == arena.DENIED
    for one, other in pairwise(sorted((e.extents[0] for e in entries.values()), key=lambda e: e.start)):
        assert one.start + one.size <= other.start
    again = planner.plan(DesiredPolicy(), {refused: given_places[refused]})
    assert again.without_room == frozenset({refused}), (
        "its room is free only after the others' entries are gone"
    )
    assert planner.plan(DesiredPolicy(), {refused: given_places[refused]}).without_room == frozenset()


def test_packets_go_past_the_stack_to_the_one_interface_at_an_address_that_takes_them(maps: Any) -> None:
    def placed(**is_direct: bool) -> dict[int, Place]:
        return {
            int(name[1:]): Place((address,), IdentityNumber(300), ((), ()), is_direct=flag)
            for (name, flag), address in zip(is_direct.items(), ADDRESSES, strict=False)
        }

    def locals_of(given_places: dict[int, Place]) -> dict[bytes, bytes]:
        for write in planner.plan(DesiredPolicy(), given_places).writes:
            maps.apply(write)
        return dict(maps.held["locals"])

    planner = Planner()
    first, second = (layout.local_key(address) for address in ADDRESSES[:2])
    assert locals_of(placed(i7=True, i8=False)) == {first: layout.NUMBER.pack(7)}
    assert locals_of(placed(i7=True, i8=True)) == {
        first: layout.NUMBER.pack(7),
        second: layout.NUMBER.pack(8),
    }
    moved = placed(i9=True, i8=True)
    assert locals_of(moved) == {first: layout.NUMBER.pack(9), second: layout.NUMBER.pack(8)}
    both = {**moved, 7: moved[9]}
    assert locals_of(both) == {second: layout.NUMBER.pack(8)}, "two claim the first address"
    assert adopted(maps).standing.locals == {second: layout.NUMBER.pack(8)}
    assert locals_of({}) == {}


def test_gaps_of_the_arena_are_used_first_and_the_last_place_is_kept() -> None:
    assert arena.gap([], 5) == 0
    assert arena.gap([Extent(0, 4), Extent(10, 5)], 6) == 4
    assert arena.gap([Extent(0, 4), Extent(10, 5)], 7) == 15
    assert arena.gap([Extent(0, 4), Extent(40, 5)], 20, 32) == 64, "at the beginning of a block"
    assert arena.gap([], layout.ARENA) is None
    assert arena.gap([], layout.ARENA - 1) == 0


def test_a_list_that_the_programs_cannot_walk_is_denied() -> None:
    line = CompiledRule(action=ALLOW)
    tables = Tables(classes=(((line,) * (layout.MAX_RULES + 1), (line,)),))
    assert plan.lists_of(tables, 0) == (arena.DENY_ALL, (line,))
    assert plan.lists_of(Tables(bit_count=layout.ROW_BITS + 1, classes=(((line,), ()),)), 0) == (arena.DENY_ALL, arena.DENY_ALL)  # fmt: skip
