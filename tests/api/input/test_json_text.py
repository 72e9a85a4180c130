"""JSON, strictly: what Python would let through is a fault with its pointer."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.input.json_text import JsonError, json_document, json_documents

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_what_is_written_is_read_again(value: Any, is_ascii: bool) -> None:
    assert json_document(json.dumps(value, ensure_ascii=is_ascii)) == (value, [])


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from('[]{}:,"\\u0d8c1eE+-. \n\ttrufalsnNIiy'), max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(JsonError):
        assert all(isinstance(faults, list) for _, faults in json_documents(text))


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 3, "b": 4}}', [("/a/b", "key 'b' stands twice")]), ('[{"a/b": 1, "a/b": 1, "": 2, "": 2}]', [("/0/a~1b", "key 'a/b' stands twice"), ("/0/", "key '' stands twice")]),
        ('{"a": NaN, "b": [-Infinity]}', [("/a", "NaN is not a number of JSON"), ("/b/0", "-Infinity is not a number of JSON")]), ('[1e400]', [("/0", "1e400 is beyond what a number can hold")]),
        (f'{{"a": {2**64}}}', [("/a", f"{2**64} is beyond 64 bits")]), ("[" + "9" * 5000 + "]", [("/0", f"{'9' * 40} is beyond 64 bits")]),
        (r'{"a": "\ud800"}', [("/a", r"'\ud800' holds what is no character of text")]), (r'{"a": "\u0000"}', [("/a", r"'\x00' holds what is no character of text")]), (r'{"\udfff": 1}', [("", r"the key '\udfff' holds what is no character of text")]),
        (r'{"a": "\ud83d\ude00"}', []), (r'{"a": "\\u0000"}', []), ('{"a\\n": NaN}', [(r"/a\n", "NaN is not a number of JSON")]),
    ],
)  # fmt: skip
def test_what_python_would_let_through_is_a_fault_with_its_pointer(
    text: str, faults: list[tuple[str, str]]
) -> None:
    assert [(fault.pointer, fault.message) for fault in json_document(text)[1]] == faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,\n "b" 2}', "line 2, column 6"), ("", "line 1, column 1"), ("{} x", "line 1, column 4: something stands after its end"), ("[" * 100_000, "nested too deep"),
        ("[" * 101 + "]" * 101, "nested too deep"), ('{"a":' * 500 + "1" + "}" * 500, "nested too deep"), ('"\x01"', "control character"), ("{'a': 1}", "line 1, column 2"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(JsonError, match=r"^not JSON: ") as refused:
        json_document(text)
    assert said in str(refused.value)


def test_a_hundred_lists_inside_each_other_are_read() -> None:
    assert json_document("[" * 100 + "]" * 100)[1] == []


def test_documents_may_follow_each_other() -> None:
    assert [document for document, _ in json_documents(' {"a": 1}\n{"b": 2}\r\n[3] ')] == [
        {"a": 1},
        {"b": 2},
        [3],
    ]
    assert list(json_documents(" \n")) == []
