"""One connection of HTTP/1.1, as all our servers keep it: what TLS knows of the client reaches the handlers, and who dawdles is cut."""

import asyncio
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from api import frugal
from api.rest.answers.streaming import ENDLESS, STREAM_PATH

READ_BYTES = 16 << 10
"""What is read at once from a connection with TLS; asyncio's 256 KiB for each would be nine tenths of what an agent's stream takes."""
HANDSHAKE_BYTES = 2 << 10
"""Before its handshake is done."""
BACKLOG, ACCEPTED = 4096, 32
"""Connections that may wait, and those of them that are taken before the loop looks at anything else: handshakes that are under way take fifty KiB each."""
BEGINNING = 64
"""Agents' streams that are let through routes and middleware at a time: what they need there for a moment is not given back to the system by Python, so
that ten thousand that come at once would leave the process large for good."""
HEADER_SECONDS = 20.0
"""How long a request's line and headers may take, from the connection's beginning or the end of the answer before. uvicorn itself bounds only the
silence between two requests; bodies have a bound of their own (`rest/guard/requests.py`)."""
CHANGED, CHANGED_PART = 64, 10
"""Memory is given back when so many connections, and such a part of them, have come or gone."""
_READ = bytearray(READ_BYTES)
_READ_VIEW = memoryview(_READ)


class BoundedProtocol(H11Protocol):
    """uvicorn's, with an end for headers that do not come to theirs (who holds thousands of connections open with a byte now and then takes nobody's
    place for long), and with little memory for an answer that goes on for ever: an agent's stream."""

    config: "HttpConfig"
    header_seconds = HEADER_SECONDS
    _alarm: asyncio.TimerHandle | None = None
    _streaming: "asyncio.Task[Any] | None" = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """TLS is there by now."""
        super().connection_made(transport)
        self._watch()
        _share_buffer(transport)
        self.app = _Outermost(self.app, self, self.shown(transport))

    def shown(self, _transport: asyncio.Transport) -> dict[str, Any]:
        """What is added to the `extensions` of the scope of every request."""
        return {}

    def handle_events(self) -> None:
        """Something came, or an answer has ended."""
        super().handle_events()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing goes on for who is gone."""
        self._rest()
        super().connection_lost(exc)
        if self._streaming is not None:
            self._streaming.cancel()

    async def go_on(self, chunks: AsyncGenerator[bytes, None], send: Any) -> None:
        """Send what comes, as fast as it is read, to the end or until the reader is gone."""
        self.headers = []
        self._streaming = asyncio.current_task()
        try:
            async with aclosing(chunks):
                if self.cycle.disconnected:  # while it was made: nobody would end it later
                    return
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not self.cycle.disconnected:
                raise
        finally:
            self._streaming = None

    def _watch(self) -> None:
        """From now on, if a request's headers are what is waited for; an alarm that is set stays as it is."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._rest()
        elif self._alarm is None:
            self._alarm = self.loop.call_later(self.header_seconds, self._cut)

    def _rest(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _cut(self) -> None:
        self._alarm = None
        self.transport.abort()


class PeerProtocol(BoundedProtocol):
    """Puts the certificate that the client has shown into the scope of its requests, as ASGI's TLS extension has it."""

    def shown(self, transport: asyncio.Transport) -> dict[str, Any]:
        """The client's certificate is known by now."""
        connection = transport.get_extra_info("ssl_object")
        if connection is None:
            return {}
        certificate = connection.getpeercert(binary_form=True)
        chain = [ssl.DER_cert_to_PEM_cert(certificate)] if certificate else []
        return {"tls": {"client_cert_chain": chain, "client_cert_error": None}}


class _Outermost:
    """The application, as one connection has it. An answer for ever is taken out of the dozen layers of routes and middleware that made it, which
    would stay as they are for as long as it goes on: half of what Python keeps of an agent's stream."""

    def __init__(self, app: Any, protocol: BoundedProtocol, extensions: dict[str, Any]) -> None:
        self._app = app
        self._protocol = protocol
        self._extensions = extensions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._extensions:
            scope["extensions"] = {**scope.get("extensions", {}), **self._extensions}
        left: list[AsyncGenerator[bytes, None]] = []
        scope[ENDLESS] = left
        async with self._protocol.config.beginning if scope.get("path") == STREAM_PATH else nullcontext():
            await self._app(scope, receive, send)
        for chunks in left:
            for name in scope.keys() - {"method"}:  # all that uvicorn asks of it from here on
                del scope[name]
            await self._protocol.go_on(chunks, send)


class HttpConfig(uvicorn.Config):
    """How all our servers serve. `is_proxied`: what a proxy before them says of who came is believed."""

    def __init__(
        self,
        app: Any,
        tls: ssl.SSLContext | None,
        *,
        is_proxied: bool = False,
        protocol: type[BoundedProtocol] = PeerProtocol,
    ) -> None:
        super().__init__(
            app,
            log_level="warning",
            timeout_graceful_shutdown=1,
            lifespan="off",
            http=protocol,
            proxy_headers=is_proxied,
            backlog=ACCEPTED,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        )
        SSLProtocol.max_size = HANDSHAKE_BYTES
        self.beginning = asyncio.Semaphore(BEGINNING)


class HttpServer(uvicorn.Server):
    """Ends by who started it, as a success; uvicorn's own takes the process's signals, and would end it by them."""

    def stop(self) -> None:
        """End soon."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """asyncio takes as many connections at once as may wait for it, which are to be few and many."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


async def give_back(server: uvicorn.Server) -> None:
    """For ever: memory, some time after many have come or gone."""
    before = 0
    while True:
        await asyncio.sleep(frugal.TRIM_SECONDS)
        now = len(server.server_state.connections)
        if abs(now - before) > max(CHANGED, before // CHANGED_PART):
            frugal.trim()
            before = now


def _share_buffer(transport: asyncio.Transport) -> None:
    """What asyncio reads from a connection with TLS goes on to OpenSSL at once, before anything else is read: one buffer is enough for all connections
    of a loop."""
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if hasattr(protocol, "_ssl_buffer_view"):
        protocol.max_size, protocol._ssl_buffer, protocol._ssl_buffer_view = READ_BYTES, _READ, _READ_VIEW
