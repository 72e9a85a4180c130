"""The index says of thousands of label sets what a selector says of each."""

from hypothesis import given
from hypothesis import strategies as st

from federation.selectors.index import LabelIndex, places_of
from federation.selectors.tree import All, And, Compare, Global, Has, In, Node, Not, Or

KEYS = ["app", "env", "projectcalico.org/namespace"]
VALUES = ["a", "b", "ab"]
label_sets = st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=20)
leaves = st.one_of(
    st.just(All()), st.just(Global()), st.builds(Has, st.sampled_from(KEYS)),
    st.builds(Compare, st.sampled_from(KEYS), st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]), st.sampled_from(VALUES)),
    st.builds(In, st.sampled_from(KEYS), st.lists(st.sampled_from(VALUES), unique=True).map(lambda v: tuple(sorted(v))), st.booleans()),
)  # fmt: skip
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
)


@given(label_sets, nodes)
def test_the_bits_are_those_whose_labels_match(sets: list[dict[str, str]], node: Node) -> None:
    found = list(places_of(LabelIndex(sets).matching(node)))
    assert found == [place for place, labels in enumerate(sets) if node.matches(labels)]
