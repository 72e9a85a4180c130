"""Messages of the stream: read back as they were written, and anything else is one clear refusal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import wire
from federation.errors import InvalidInput

texts = st.text(st.characters(exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
revisions = st.integers(0, wire.MAX_REVISION)
messages = (
    st.builds(wire.Begin, st.sampled_from(["snapshot", "resume"]), revisions)
    | st.builds(wire.Upsert, st.dictionaries(texts, values, max_size=4))
    | st.builds(wire.Delete, texts, texts)
    | st.builds(wire.Commit, revisions)
    | st.builds(wire.InSync, revisions)
    | st.builds(wire.Trust, texts, texts)
)


@given(messages)
def test_a_message_is_read_as_it_was_written(message: wire.Message) -> None:
    line = wire.encode(message)
    assert line.count(b"\n") == 1
    assert wire.decode(line) == message


@given(st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidInput):
        wire.decode(line)


@given(messages, st.data())
def test_a_line_with_other_bits_is_a_message_or_refused(message: wire.Message, data: Any) -> None:
    line = bytearray(wire.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        wire.decode(bytes(line))
    except InvalidInput as error:
        assert len(error.message) < 500  # noqa: PT017 - it is fine when there is none


def deep(levels: int) -> bytes:
    return b'{"op":"upsert","object":{"a":' + b"[" * levels + b"]" * levels + b"}}"


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        deep(100_000),
        deep(900),
        deep(wire.MAX_DEPTH),
        b'{"op":"commit","revision":' + b"9" * 5000 + b"}",
        b'{"op":"commit","revision":99999999999999999999}',
        b'{"op":"commit","revision":-1}',
        b'{"op":"commit","revision":true}',
        b'{"op":"commit","revision":1.0}',
        b'{"op":"commit","revision":1e3}',
        b'{"op":"commit"}',
        b'{"op":"begin","mode":"dance","revision":1}',
        b'{"op":"upsert","object":[]}',
        b'{"op":"upsert","object":{"a":NaN}}',
        b'{"op":"upsert","object":{"a":-Infinity}}',
        b'{"op":"delete","kind":"Cluster","path":null}',
        b'{"op":"commit","revision":1}\x00',
        b'{"op":"commit","revision":1}{"op":"commit","revision":2}',
        b'{"op":"delete","kind":"\xff\xfe","path":"x"}',
        '{"op":"commit","revision":1}'.encode("utf-16"),
        b"",
        b"\x00" * 100,
    ],
    ids=lambda line: f"{line[:40]!r} of {len(line)}",
)
def test_what_is_no_message_is_one_clear_refusal(line: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"stream|JSON"):
        wire.decode(line)


def test_a_document_may_be_as_deep_as_rest_takes_it() -> None:
    assert isinstance(wire.decode(deep(99)), wire.Upsert)


def test_of_a_key_that_stands_twice_the_last_is_taken() -> None:
    assert wire.decode(b'{"op":"commit","revision":1,"revision":2}') == wire.Commit(2)
