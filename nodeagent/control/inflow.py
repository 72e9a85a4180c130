"""What the control plane answers, read within bounds: the length of a line, of a body, and what a few packed bytes may become.

httpx would unpack whatever it is sent, whole, and keep a line without end.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from typing import cast

import httpx

from federation import wire
from federation.errors import InvalidInput, Unavailable

PIECE = 64 << 10
"""Bytes that are unpacked at once."""
MOST_BODY = 4 << 20
"""Bytes of an answer that is no stream; the largest is a certificate with its bundle."""
CODING = "deflate"
"""The content coding that is read (RFC 9110, 8.4.1.2)."""


async def lines(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Lines, without their ends; what stands after the last end is none. Raises InvalidInput for one that is too long, Unavailable for
    packing that is broken."""
    rest = bytearray()
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            first, *more = piece.split(b"\n")
            rest += first
            for line in more:
                yield bytes(rest)
                rest = bytearray(line)
            if len(rest) > wire.MAX_LINE:
                raise InvalidInput(f"a line of the stream is longer than {wire.MAX_LINE} bytes")


async def body(response: httpx.Response) -> bytes:
    """All of a short answer. Raises Unavailable when it is not short."""
    taken = bytearray()
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            taken += piece
            if len(taken) > MOST_BODY:
                raise Unavailable(f"the control plane's answer is larger than {MOST_BODY} bytes")
    return bytes(taken)


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes]:
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", CODING):
        raise Unavailable(f"the control plane's answer is packed as {coding[:40]!r}, which nobody asked for")
    unpacker = zlib.decompressobj() if coding == CODING else None
    # the raw bytes: response.aiter_raw refuses an answer that a test has made whole
    async for raw in cast(AsyncIterable[bytes], response.stream):
        if unpacker is None:
            yield raw
            continue
        for piece in _unpacked(unpacker, raw):
            yield piece


def _unpacked(unpacker: "zlib._Decompress", raw: bytes) -> Iterator[bytes]:
    while True:
        try:
            piece = unpacker.decompress(raw, PIECE)
        except zlib.error as error:
            raise Unavailable(f"the control plane's answer cannot be unpacked: {error}") from error
        if piece:
            yield piece
        raw = unpacker.unconsumed_tail
        if not raw and len(piece) < PIECE:
            return
