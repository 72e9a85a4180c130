"""Connections: headers that do not come to their end, answers that go on, many that come at once."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.connections import BEGINNING, HEADER_SECONDS, BoundedProtocol, HttpConfig, HttpServer
from api.rest.answers.streaming import Streamed
from api.tls import server_context
from benchmarks.fanout.run import certificate

SECONDS = 0.4


class Hurried(BoundedProtocol):
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


@asynccontextmanager
async def served(config: HttpConfig) -> AsyncIterator[int]:
    """Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(config)
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.stop()
        await task


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = HttpConfig(slowly, None, protocol=Hurried)
    config.timeout_keep_alive = 60
    async with served(config) as found:
        yield found


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
    assert BoundedProtocol.header_seconds == HEADER_SECONDS <= 30


@dataclass
class Ticking:
    """An application whose answers go on, and what became of them."""

    ticks: int
    is_unwound: asyncio.Event = field(default_factory=asyncio.Event)
    is_closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Streamed(self._chunks(), is_packed=False)(scope, receive, send)
        self.is_unwound.set()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(self.ticks):
                await self.is_unwound.wait()
                yield f"tick {number}\n".encode()
            if self.ticks == 1:
                await asyncio.Event().wait()
        finally:
            self.is_closed.set()


async def test_an_answer_that_goes_on_leaves_the_layers_that_made_it_and_ends_with_its_reader() -> None:
    app = Ticking(1)
    async with served(HttpConfig(app, None)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /agent/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"tick 0\n" in await reader.readuntil(b"tick 0\n")
        assert not app.is_closed.is_set()
        writer.close()
        await app.is_closed.wait()


async def test_after_an_answer_that_ends_the_connection_is_good_for_another() -> None:
    async with served(HttpConfig(Ticking(3), None)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await reader.readuntil(b"0\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 200")
            assert said.count(b"tick") == 3
        writer.close()


async def test_agents_that_come_at_once_are_let_in_some_at_a_time() -> None:
    """And all of them are, also when some go before it is their turn."""
    inside, most = 0, 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1
        await Streamed(Ticking(1)._chunks(), is_packed=False)(scope, receive, send)

    async def ask(is_patient: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /agent/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        if is_patient:
            assert await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with served(HttpConfig(app, None)) as port:
        await asyncio.gather(*(ask(number % 3 > 0) for number in range(3 * BEGINNING)))
    assert 1 < most <= BEGINNING


class Unasked:
    """Chunks that nobody should wait for."""

    def __init__(self) -> None:
        self.is_closed = asyncio.Event()

    def __aiter__(self) -> "Unasked":
        return self

    async def __anext__(self) -> bytes:
        return await asyncio.Event().wait() and b""

    async def aclose(self) -> None:
        self.is_closed.set()


async def test_who_goes_while_a_stream_begins_leaves_none_behind() -> None:
    """The answer is made for nobody: it is closed, and not waited with for ever."""
    chunks, is_asked = Unasked(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        is_asked.set()
        while (await receive())["type"] != "http.disconnect":
            continue
        await Streamed(chunks, is_packed=False)(scope, receive, send)

    async with served(HttpConfig(slow, None)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /agent/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await is_asked.wait()
        writer.close()
        async with asyncio.timeout(5):
            await chunks.is_closed.wait()


async def test_connections_with_tls_share_a_buffer_and_mix_nothing_up(tmp_path: Path) -> None:
    """asyncio's own parts are reached into: another Python may call them otherwise."""
    certificate(tmp_path)
    context = server_context()
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    seen: set[int] = set()

    class Watched(BoundedProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            seen.add(id(transport._ssl_protocol._ssl_buffer))

    async def digest(scope: Any, receive: Any, send: Any) -> None:
        said, is_more = hashlib.sha256(), True
        while is_more:
            message = await receive()
            said.update(message["body"])
            is_more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": said.hexdigest().encode()})

    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with (
        served(HttpConfig(digest, context, protocol=Watched)) as port,
        httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trust) as http,
    ):
        bodies = [os.urandom(300_000 + number) for number in range(8)]
        answers = await asyncio.gather(*(http.post("/", content=body) for body in bodies))
    assert [answer.text for answer in answers] == [hashlib.sha256(body).hexdigest() for body in bodies]
    assert len(seen) == 1, "one buffer for all"
