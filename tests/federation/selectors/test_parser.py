"""The selector language: what it means, how it is printed, where it says that it is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import SelectorError
from federation.selectors import ALL, and_, equals, not_, parse
from federation.selectors.parser import selector_of
from federation.selectors.tree import All, And, Compare, Global, Has, In, Node, Not, Or

LABELS = {"a": "b", "in": "x", "c": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("all()", True), ("a == 'b'", True), ('a == "b"', True), ("z == 'b'", False), ("z != 'b'", True), ("a != 'b'", False),
        ("a in {'b', 'c'}", True), ("a in {}", False), ("a not in {}", True), ("z not in {'b'}", True), ("z notin {'b',}", True),
        ("in in {'x'}", True), ("a contains 'b'", True), ("a starts with 'b'", True), ("a startswith 'c'", False), ("a ends with 'b'", True),
        ("z contains ''", False), ("has(c)", True), ("has( a )", True), ("!has(z)", True), ("!a == 'b'", False),
        ("a == 'x' && has(z) || has(a)", True), ("a == 'x' && (has(z) || has(a))", False), ("global()", True), ("\ta\t==\t'b' ", True),
    ],
)  # fmt: skip
def test_a_selector_means_what_calico_says(text: str, matches: bool) -> None:
    assert parse(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a = 'b'", 2), ("has (x)", 4), ("all ()", 4), ("a == 'b", 5), ("a ==\n'b'", 4), ("(a == 'b'", 9), ("a in {'b'", 9), ("a == b", 5),
        ("&& a", 0), ("all() all()", 6), ("a starts 'b'", 9), ("a", 1), ("!" * 60 + "all()", 51),
    ],
)  # fmt: skip
def test_a_fault_is_shown_where_it_is(text: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.message.splitlines()[-1] == "  " + " " * position + "^"


keys = st.sampled_from(["a", "b", "has", "in", "x.y/z-1"])
values = st.text("ab '", max_size=3)
leaves: st.SearchStrategy[Node] = st.one_of(
    st.just(All()), st.just(Global()), st.builds(Has, keys),
    st.builds(Compare, keys, st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]), values),
    st.builds(lambda k, v, n: In(k, tuple(sorted(v)), n), keys, st.sets(values, max_size=3), st.booleans()),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda o: And(tuple(o)), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda o: Or(tuple(o)), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


@given(trees, st.dictionaries(keys, values))
def test_the_canonical_text_means_the_same_and_is_its_own_canonical_text(
    tree: Node, labels: dict[str, str]
) -> None:
    selector = selector_of(tree)
    again = parse(selector.text)
    assert again.text == selector.text
    assert again.matches(labels) is selector.matches(labels)


@given(trees, trees, st.dictionaries(keys, values))
def test_combining_selectors_combines_their_meaning(left: Node, right: Node, labels: dict[str, str]) -> None:
    one, other = selector_of(left), selector_of(right)
    assert and_(one, other).matches(labels) is (one.matches(labels) and other.matches(labels))
    assert not_(one).matches(labels) is not one.matches(labels)


def test_constructed_selectors_equal_parsed_ones() -> None:
    assert equals("a", "b") == parse("a=='b'")
    assert parse("") == ALL
    assert parse("a in {'y','x','y'}").text == 'a in {"x", "y"}'
