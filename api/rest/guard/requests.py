"""The id of a request, told back and kept in the audit log; and headers that keep browsers and caches from doing what they should not."""

import re
import uuid
from typing import Any

from fastapi import Request

ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
HEADER = b"x-request-id"
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Of every answer that has none of its own (the console's has)."""
STRICT = (b"strict-transport-security", b"max-age=31536000")
"""Over TLS."""


def request_id(request: Request) -> str:
    """What the client called its request, or what it was called here."""
    return str(request.scope["causeway.request"])


class Guarded:
    """ASGI middleware."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = _given(scope) or uuid.uuid4().hex
        scope["causeway.request"] = name
        more = [(HEADER, name.encode()), *((STRICT,) if scope.get("scheme") == "https" else ())]

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {key.lower() for key, _ in message.get("headers", ())}
                fitting = [pair for pair in HEADERS if pair[0] not in there]
                message = {**message, "headers": [*message.get("headers", ()), *fitting, *more]}
            await send(message)

        await self.app(scope, receive, sending)


def _given(scope: Any) -> str:
    """The client's id, if it is a sane one: it goes into logs."""
    given = next((value for key, value in scope["headers"] if key == HEADER), b"").decode("latin-1")
    return given if ID.fullmatch(given) else ""
