"""Totals of rules only grow, whatever happens to the numbers that the programs count by."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from federation.policy.tables import RuleReference
from federation.resources.metadata import ObjectKey
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.ebpf.observe.totals import RuleTotals, advanced
from nodeagent.dataplane.fake import FakeDriver


def rule(name: str, index: int = 0) -> RuleReference:
    return RuleReference(
        tier="default", policy=ObjectKey("GlobalNetworkPolicy", "", "", name), index=index, section="ingress"
    )


A, B, C = rule("a"), rule("b"), rule("c")
END = RuleReference(tier="default", policy=None, index=None)


def test_what_is_read_is_added_once() -> None:
    first = advanced({}, ({}, {}), ({0: (2, 120), 1: (1, 60)}, {0: A, 1: B}))
    assert first == {A: (2, 120), B: (1, 60)}
    assert advanced(
        first, ({0: (2, 120), 1: (1, 60)}, {0: A, 1: B}), ({0: (5, 300), 1: (1, 60)}, {0: A, 1: B})
    ) == {
        A: (5, 300),
        B: (1, 60),
    }


def test_a_number_that_another_rule_got_began_anew() -> None:
    before = ({0: (2, 120), 1: (9, 540)}, {0: A, 1: B})
    now = ({0: (3, 180), 1: (4, 240)}, {0: B, 1: A})
    assert advanced({A: (2, 120), B: (9, 540)}, before, now) == {A: (6, 360), B: (12, 720)}


def test_a_count_that_shrank_began_anew() -> None:
    assert advanced({A: (9, 540)}, ({0: (9, 540)}, {0: A}), ({0: (1, 60)}, {0: A})) == {A: (10, 600)}


def test_a_rule_that_is_gone_is_forgotten_and_a_number_that_is_nobodys_is_passed_over() -> None:
    assert advanced(
        {A: (9, 540), B: (1, 1)}, ({0: (9, 540)}, {0: A}), ({0: (9, 540), 7: (5, 5)}, {3: B})
    ) == {B: (1, 1)}


@given(
    st.lists(
        st.tuples(st.permutations((A, B, C)), st.lists(st.integers(0, 9), min_size=3, max_size=3)), max_size=8
    )
)
def test_totals_are_what_was_counted_when_a_reading_comes_before_each_renumbering(
    steps: list[tuple[list[RuleReference], list[int]]],
) -> None:
    totals, raw, rules = {}, {}, {}  # type: ignore[var-annotated]
    truth = {A: 0, B: 0, C: 0}
    for order, packets in steps:
        fresh = dict(enumerate(order))
        kernel = {
            n: raw[n][0] if rules.get(n) == fresh[n] and n in raw else 0 for n in fresh
        }  # as the planner zeroes
        for n, more in enumerate(packets):
            kernel[n] += more
            truth[fresh[n]] += more
        now = {n: (count, 60 * count) for n, count in kernel.items() if count}
        after = advanced(totals, (raw, rules), (now, fresh))
        assert all(after[one] >= count for one, count in totals.items())
        totals, raw, rules = after, now, fresh
    assert {one: totals.get(one, (0, 0))[0] for one in truth} == truth


async def test_only_what_has_changed_is_told_and_never_a_tiers_end(tmp_path: Path) -> None:
    kept = RuleTotals(NotedDriver(FakeDriver()), tmp_path, tmp_path)
    kept.totals = {A: (1, 60), B: (2, 120), END: (3, 180)}
    assert kept.untold(10) == {A: (1, 60), B: (2, 120)}
    first = kept.untold(1)
    kept.told(first)
    assert kept.untold(10) == {B: (2, 120)}
    kept.told(kept.untold(10))
    kept.totals = {A: (1, 60), B: (3, 180)}
    assert kept.untold(10) == {B: (3, 180)}


async def test_a_file_that_cannot_be_used_costs_the_totals_only(tmp_path: Path) -> None:
    for text in (None, "rubbish", "[]", '{"format": 1}', '{"format": 1, "totals": [1], "raw": []}'):
        if text is not None:
            (tmp_path / "counts.json").write_text(text)
        kept = RuleTotals(NotedDriver(FakeDriver()), tmp_path, tmp_path)
        kept.adopt()
        assert kept.totals == {}
        assert kept.read() == 1.0, "before the first round nothing is read"
