"""Answers that are told from memory while the database is away say so."""

from typing import Any

from controlplane.service import ControlPlane

HEADER = "causeway-stale"
"""Seconds since the database was last seen."""


class Marked:
    """ASGI middleware."""

    def __init__(self, app: Any, plane: ControlPlane) -> None:
        self.app = app
        self.plane = plane

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""

        async def sending(message: Any) -> None:
            seconds = self.plane.feed.stale_seconds
            if message["type"] == "http.response.start" and seconds is not None:
                told = (HEADER.encode(), f"{seconds:.0f}".encode())
                message = {**message, "headers": [*message.get("headers", ()), told]}
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)
