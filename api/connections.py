"""One connection of HTTP/1.1, as all our servers keep it: what TLS knows of the client reaches the handlers, and who dawdles is cut."""

import asyncio
import ssl
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0
"""How long a request's line and headers may take, from the connection's beginning or the end of the answer before. uvicorn itself bounds only the
silence between two requests; bodies have a bound of their own (`rest/guard/requests.py`)."""


class PeerProtocol(H11Protocol):
    """uvicorn's, with the certificate that the client has shown in the scope of its requests (ASGI's TLS extension), and an end for headers that do
    not come to theirs: who holds thousands of connections open with a byte now and then takes nobody's place for long."""

    header_seconds = HEADER_SECONDS
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client's certificate is known by now."""
        super().connection_made(transport)
        self._watch()
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            shown = connection.getpeercert(binary_form=True)
            chain = [ssl.DER_cert_to_PEM_cert(shown)] if shown else []
            self.app = _Told(self.app, {"client_cert_chain": chain, "client_cert_error": None})

    def handle_events(self) -> None:
        """Something came, or an answer has ended."""
        super().handle_events()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """No alarm keeps what is gone."""
        self._rest()
        super().connection_lost(exc)

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


class _Told:
    """An application that is told of its connection."""

    def __init__(self, app: Any, tls: dict[str, Any]) -> None:
        self._app = app
        self._tls = tls

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), "tls": self._tls}
        await self._app(scope, receive, send)
