"""A request whose headers do not come to their end: the connection is cut, and one that is served is not."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from api.connections import HEADER_SECONDS, PeerProtocol
from tests.scenarios.serving import Quiet

SECONDS = 0.4


class Hurried(PeerProtocol):
    header_seconds = SECONDS


async def slowly(scope: Any, receive: Any, send: Any) -> None:
    """Takes all of a body, and thrice as long for the answer as headers may."""
    taken = 0
    while (message := await receive())["type"] == "http.request":
        taken += len(message["body"])
        if not message["more_body"]:
            break
    await asyncio.sleep(3 * SECONDS)
    body = str(taken).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            slowly, log_level="critical", lifespan="off", http=Hurried, timeout_keep_alive=60
        )
        server = Quiet(config)
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


async def drip(writer: asyncio.StreamWriter, text: bytes) -> None:
    """A byte now and then."""
    with contextlib.suppress(ConnectionError):
        for byte in text:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(SECONDS / 8)


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize("first", [b"", REQUEST + b"abcd"])
@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nX: " + b"y" * 60])
async def test_headers_that_do_not_end_are_not_waited_for(port: int, first: bytes, text: bytes) -> None:
    """On a new connection, and on one that was of use."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if first:
        writer.write(first)
        assert (await reader.readuntil(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")
    dripping = asyncio.ensure_future(drip(writer, text))
    assert await is_cut(reader)
    assert text == b"" or not dripping.done(), "it was cut because all had been said"
    await dripping
    writer.close()


async def test_a_slow_body_and_a_slow_answer_are_no_headers(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(REQUEST)
        await drip(writer, b"ab")
        await asyncio.sleep(2 * SECONDS)
        await drip(writer, b"cd")
        assert (await reader.readuntil(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")
    writer.close()


def test_headers_have_seconds() -> None:
    assert PeerProtocol.header_seconds == HEADER_SECONDS <= 30
