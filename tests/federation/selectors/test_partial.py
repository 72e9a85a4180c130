"""What may be selected of which only some labels are known: never less than what is selected of any completion."""

from collections.abc import Mapping
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from federation.selectors import parse
from federation.selectors.partial import may_match
from federation.selectors.tree import Node
from tests.federation.selectors.test_index import KEYS, VALUES, nodes


def completions(known: Mapping[str, str]) -> list[dict[str, str]]:
    unknown = [key for key in KEYS if key not in known]
    return [
        {**known, **{key: value for key, value in zip(unknown, chosen, strict=True) if value is not None}}
        for chosen in product((None, *VALUES), repeat=len(unknown))
    ]


@given(nodes, st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=1))
def test_what_is_ruled_out_is_selected_of_no_completion(node: Node, known: dict[str, str]) -> None:
    if not may_match(node, known):
        assert not any(node.matches(labels) for labels in completions(known))


def test_one_label_rules_out_what_asks_for_another_value_of_it() -> None:
    known = {"home": "dc1"}
    for text, expected in (
        ("home == 'dc1'", True), ("home == 'aws1'", False), ("home != 'dc1'", False), ("!(home == 'dc1')", False),
        ("home in {'aws1', 'dc1'} && app == 'db'", True), ("home == 'aws1' && app == 'db'", False), ("home == 'aws1' || app == 'db'", True),
        ("has(home)", True), ("!has(home)", False), ("all()", True), ("!all()", False), ("app == 'db'", True), ("home starts with 'aws'", False),
    ):  # fmt: skip
        assert may_match(parse(text).node, known) is expected, text
