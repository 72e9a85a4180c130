"""How figures of test runs are told, and that what is asked is what is said to be asked."""

import pytest

from benchmarks.datapath.kernel import AT_RANDOM, CLOSED_PORT, WARM, Case, peers_outside, told, unremembered
from benchmarks.datapath.memory import entries, pairs, without_others
from benchmarks.datapath.worlds import BYSTANDERS, TARGET_INTERFACE, TCP, desired, rules_of, world
from benchmarks.pods import SOURCE
from benchmarks.rows import Aim
from nodeagent.dataplane.ebpf import layout

FIGURES = {"empty": 20.0, "headers": 40.0, "list": 42.0, "endpoint": 60.0, "connection": 70.0, "ours": 95.0}


def test_ours_is_above_an_empty_program_and_the_look_ups_are_above_the_reading_of_headers() -> None:
    case = Case(name="established", frames=(), needs=("endpoint", "connection"), aim=Aim(most=1.5))
    row = told(case, WARM, FIGURES)
    assert row.ours == 75
    assert row.peers == {"look-ups alone": 50, "and headers read": 70}
    assert (row.ratio, row.met) == (pytest.approx(1.5), True)


def test_rules_count_as_look_ups_in_a_warm_array_only_and_only_warm_figures_have_an_aim() -> None:
    case = Case(name="walked", frames=(), needs=("endpoint",), rules=10, aim=Aim(most=1))
    assert told(case, WARM, FIGURES).peers["look-ups alone"] == 40
    at_random = told(case, AT_RANDOM, FIGURES)
    assert at_random.peers["look-ups alone"] == 20
    assert (at_random.aim, at_random.met) == ("", None)


@pytest.mark.parametrize(("size", "rules"), [(10, 100), (1_000, 100), (1_000, 1)])
def test_the_packets_that_walk_a_whole_list_are_denied_and_the_clients_are_not(size: int, rules: int) -> None:
    given = world(size, rules)
    peers = peers_outside(rules - 1, size, rules)
    assert peers
    assert SOURCE not in peers
    assert not [peer for peer in peers if given.allows(TARGET_INTERFACE, peer, TCP, CLOSED_PORT)]
    assert given.allows(TARGET_INTERFACE, SOURCE, TCP, CLOSED_PORT)


def test_a_list_that_keeps_no_answers_is_the_targets_alone() -> None:
    wanted = desired(world(100, 100), "lo")
    plain = unremembered(wanted).tables.classes
    changed = [n for n, both in enumerate(plain) if both != wanted.tables.classes[n]]
    assert changed == [next(a.class_number for a in wanted.attachments if a.interface == "lo")]
    assert not layout.list_flags(plain[changed[0]][0]) & layout.IS_CACHEABLE
    assert layout.list_flags(wanted.tables.classes[changed[0]][0]) & layout.IS_CACHEABLE


def test_pairs_multiply_where_selectors_are_wide_and_ours_stay() -> None:
    narrow, wide = world(1_000), world(1_000, width=20)
    assert entries(narrow) == entries(wide)
    assert pairs(wide) > 10 * pairs(narrow)
    assert pairs(world(10)) == rules_of(world(10)) + 2  # two lines name the client's identity besides


def test_identities_of_wide_worlds_are_in_the_same_groups_as_a_whole() -> None:
    given = world(1_000, width=5)
    for group in given.members:
        numbers = {given.identities[address] for address in group}
        assert {a for a, number in given.identities.items() if number in numbers} == set(group)


def test_a_node_without_others_keeps_its_peers() -> None:
    given = world(1_000)
    alone = without_others(given)
    assert alone.members == given.members
    assert not set(BYSTANDERS) & alone.lists.keys()
    assert len(desired(alone).attachments) == 2
