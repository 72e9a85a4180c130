"""A packed document is the document, in fewer bytes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.control.packed import Packed

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_whatever_is_packed_is_the_same_and_stays_so(document: dict[str, object]) -> None:
    packed = Packed.of(document)
    assert packed == document
    assert dict(packed) == packed.whole() == document
    assert len(packed) == len(document)
    assert Packed.of(packed) is packed
    assert Packed.of(packed.whole()) == packed
    assert packed != {**document, "more": 1, "and": 2, "so": 3}


def test_labels_are_shared_between_documents_and_odd_ones_are_left_as_they_are() -> None:
    text = json.dumps({"metadata": {"labels": {"app": "web-of-many"}}, "spec": {"labels": {"app": 7}}})
    one, other = (Packed(text.encode()).whole() for _ in range(2))
    assert one["metadata"]["labels"]["app"] is other["metadata"]["labels"]["app"]
    assert one["spec"]["labels"] == {"app": 7}
    for odd in ({"metadata": None}, {"metadata": {"labels": []}}, {"spec": "labels"}):
        assert Packed.of(odd).whole() == odd
