"""Whoever a selector matches one by one, it matches in the columns, however many hold a value and whatever came before."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.peers.columns import Columns
from federation.selectors import parse
from federation.selectors.index import places_of

SELECTORS = [
    parse(text)
    for text in (
        "all()", "own == '7'", "own != '7'", "has(own)", "!has(own)", "own in {'3', '500', 'none'}", "own not in {'3', '500'}", "own starts with '1'",
        "env == 'e1' && own in {'1', '2', '4', '7'}", "env == 'e2' || own == '9'", "!(env == 'e0')", "rare == 'r' && env == 'e1'", "has(rare)", "global()",
    )
]  # fmt: skip


def labels_of(n: int) -> dict[str, str]:
    return {"own": str(n), "env": f"e{n % 3}"} | ({"rare": "r"} if n % 100 == 1 else {})


def matched(columns: Columns[int], text: Any) -> set[int | None]:
    return {columns.members[place] for place in places_of(columns.matching(text.node))}


def check(columns: Columns[int], labels: Mapping[int, Mapping[str, str]]) -> None:
    for selector in SELECTORS:
        assert matched(columns, selector) == {n for n, each in labels.items() if selector.matches(each)}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 700), st.data())
def test_what_columns_match_is_what_the_selector_matches(size: int, data: st.DataObject) -> None:
    labels = {n: labels_of(n) for n in range(size)}
    columns: Columns[int] = Columns()
    columns.put(labels)
    check(columns, labels)
    some = st.lists(st.integers(0, 720), max_size=150, unique=True)
    gone, other = data.draw(some), data.draw(some)
    for n in gone:
        labels.pop(n, None)
    columns.drop(gone)
    check(columns, labels)
    labels |= {n: labels_of(n % 10) for n in other}
    columns.put({n: labels[n] for n in other})
    check(columns, labels)


def test_a_value_that_comes_to_many_and_leaves_them_again_is_still_found() -> None:
    labels = {n: labels_of(n) for n in range(640)}
    columns: Columns[int] = Columns()
    columns.put(labels)
    for wanted in ("7", "8"):
        labels |= {n: {"own": wanted} for n in range(300)}
        for n in range(300):
            columns.put({n: labels[n]})
        check(columns, labels)
