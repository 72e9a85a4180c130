"""What comes in: bounded lines and bodies, and a few packed bytes that would be gigabytes."""

import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import wire
from federation.errors import CausewayError, InvalidInput, Unavailable
from nodeagent.control import inflow


class Pieces(httpx.AsyncByteStream):
    """A body, as it comes."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def answer(*pieces: bytes, coding: str = "") -> httpx.Response:
    return httpx.Response(200, stream=Pieces(*pieces), headers={"content-encoding": coding} if coding else {})


async def heard(response: httpx.Response) -> list[bytes]:
    return [line async for line in inflow.lines(response)]


def bomb(unit: bytes, times: int) -> list[bytes]:
    """Packed pieces of a unit so many times."""
    packer = zlib.compressobj(9)
    made = [packer.compress(unit) for _ in range(times)]
    return [piece for piece in [*made, packer.flush()] if piece]


@given(st.lists(st.binary(max_size=50)), st.integers(1, 70), st.booleans())
async def test_lines_are_whole_however_they_are_cut_and_packed(
    told: list[bytes], size: int, is_packed: bool
) -> None:
    told = [line.replace(b"\n", b"") for line in told]
    whole = b"".join(line + b"\n" for line in told) + b"half a line"
    sent = zlib.compress(whole) if is_packed else whole
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert await heard(answer(*pieces, coding="deflate" if is_packed else "")) == told


@given(st.binary(min_size=1, max_size=400), st.data())
async def test_packing_that_is_broken_is_said_and_nothing_else_happens(
    plain: bytes, data: st.DataObject
) -> None:
    sent = bytearray(zlib.compress(plain * 3))
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        await heard(answer(bytes(sent), coding="deflate"))
    except CausewayError as error:
        assert isinstance(error, Unavailable)  # noqa: PT017 - some are not noticed: text is as good as another


@pytest.mark.parametrize("junk", [b"", b"\x00" * 100, b"\x78", b"\x1f\x8b" + b"x" * 50, b"not packed at all"])
async def test_what_is_not_packed_as_it_says_gives_no_line(junk: bytes) -> None:
    try:
        assert await heard(answer(junk, coding="deflate")) == []
    except Unavailable as error:
        assert "unpacked" in error.message  # noqa: PT017 - nothing is as good as a refusal


async def test_a_coding_that_nobody_asked_for_is_refused() -> None:
    for read in (heard, inflow.body):
        with pytest.raises(Unavailable, match="gzip"):
            await read(answer(b"x", coding="gzip"))


async def test_a_line_without_end_takes_no_memory_without_end() -> None:
    pieces = bomb(b"x" * (4 << 20), 128)  # half a GiB in half a MiB
    assert sum(map(len, pieces)) < 4 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="longer than"):
            await heard(answer(*pieces, coding="deflate"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * wire.MAX_LINE


async def test_many_lines_of_a_few_bytes_are_not_held_together() -> None:
    (piece,) = [b"".join(bomb(wire.encode(wire.Commit(1)) * 10_000, 10))]
    count = 0
    tracemalloc.start()
    try:
        async for line in inflow.lines(answer(piece, coding="deflate")):
            count += line == b'{"op":"commit","revision":1}'
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert most < 4 << 20


async def test_a_body_is_short_or_refused() -> None:
    assert await inflow.body(answer(b"ab", b"c")) == b"abc"
    with pytest.raises(Unavailable, match="larger than"):
        await inflow.body(answer(*[b"x" * 65536] * 100))
    with pytest.raises(Unavailable, match="larger than"):
        await inflow.body(answer(*bomb(b"x" * (1 << 20), 64), coding="deflate"))
