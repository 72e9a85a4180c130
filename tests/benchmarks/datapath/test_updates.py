"""A change, said in each tool's words, makes of one world the other: nothing is left over, nothing is forgotten."""

import re
from ipaddress import IPv4Network
from itertools import permutations

import pytest

from benchmarks.datapath import iptables, nftables
from benchmarks.datapath.traffic import leads_of, rotated
from benchmarks.datapath.updates import one_rule_otherwise
from benchmarks.datapath.worlds import World, change, networks, world

WORLDS = {
    "standing": world(100),
    "one rule": one_rule_otherwise(world(100)),
    "one more": world(100, newcomers=1),
    "many more": world(100, newcomers=40),
    "networks": world(100, networks=networks(20)),
}
Sets = dict[str, set[str]]


def sets_in_iptables(text: str, sets: Sets) -> Sets:
    for line in text.splitlines():
        verb, name, *rest = line.split()
        match verb:
            case "create":
                assert name not in sets
                sets[name] = set()
            case "destroy":
                del sets[name]
            case "add":
                assert rest[0] not in sets[name]
                sets[name].add(rest[0])
            case "del":
                sets[name].remove(rest[0])
    return sets


def sets_in_nftables(text: str, sets: Sets) -> Sets:
    for line in text.splitlines():
        words = set(re.findall(r"[\d.]+\.\d+(?:/\d+)?", line))
        if found := re.match(r"set (\w+) \{", line):
            sets[found[1]] = words
        elif found := re.match(r"(add|delete) element ip bench (\w+) ", line):
            before = sets[found[2]]
            assert words.isdisjoint(before) if found[1] == "add" else words <= before
            sets[found[2]] = before ^ words
        elif found := re.match(r"delete set ip bench (\w+)", line):
            del sets[found[1]]
    return sets


def rules(text: str, start: str, ends: tuple[str, ...]) -> list[str]:
    lines = text.splitlines()
    if start not in lines:
        return [line for line in lines if line.startswith(start)]
    found = []
    for line in lines[lines.index(start) + 1 :]:
        if line in ends:
            break
        found.append(line)
    return found


@pytest.mark.parametrize(("one", "other"), [*permutations(WORLDS, 2)])
def test_sets_and_rules_end_as_if_the_other_world_had_been_loaded(one: str, other: str) -> None:
    before, after = WORLDS[one], WORLDS[other]
    step = change(before, after)
    sets = sets_in_iptables(iptables.sets(before), {})
    for words, text in iptables.updates(step):
        if words[0] == "ipset":
            sets = sets_in_iptables(text, sets)
        else:
            assert rules(text, "-A cw-pi-pod2 ", ()) == rules(iptables.chains(after), "-A cw-pi-pod2 ", ())
    assert sets == sets_in_iptables(iptables.sets(after), {})
    text = nftables.update(step)
    sets = sets_in_nftables(nftables.ruleset(before), {})
    assert sets_in_nftables(text, sets) == sets_in_nftables(nftables.ruleset(after), {})
    if step.lists:
        assert rules(text, "chain to_pod2 {", ("}",)) == rules(
            nftables.ruleset(after), "chain to_pod2 {", ("}",)
        )


def test_a_world_is_no_change_of_itself() -> None:
    for given in WORLDS.values():
        step = change(given, given)
        assert not [*step.come, *step.gone, *step.lists]
        assert not list(iptables.updates(step))
        assert not nftables.update(step).strip()


def test_what_is_no_change_of_a_standing_world_is_refused() -> None:
    def must_fail(one: World, other: World) -> None:
        with pytest.raises(ValueError, match="load the whole world"):
            change(one, other)

    must_fail(WORLDS["standing"], world(1000))
    must_fail(WORLDS["networks"], world(100, networks=[IPv4Network("192.0.2.0/24")]))


def test_a_lead_is_over_those_who_enforce_and_is_above_one_when_ours_is_better() -> None:
    samples = {"ours": [10.0, 20.0, 30.0], "no policy": [99.0] * 3, "nftables": [5.0, 10.0, 60.0]}
    assert leads_of(samples, is_rate=True) == {"nftables": 2}
    assert leads_of(samples, is_rate=False) == {"nftables": 0.5}


def test_each_contender_begins_as_often_as_the_others() -> None:
    names = ["a", "b", "c"]
    assert {rotated(names, turn)[0] for turn in range(3)} == set(names)
    assert sorted(rotated(names, 5)) == names
