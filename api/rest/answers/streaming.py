"""The answer that never ends: an agent's stream, sent as fast as the agent reads and no faster."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import Response

DEFLATE = "deflate"
"""The content coding whose parts may be made once for many readers (RFC 9110, 8.4.1.2: zlib's format)."""

STREAM_PATH = "/agent/v1/stream"
ENDLESS = "causeway.endless"
"""In the scope of a request: a list, in which the chunks of an answer may be left that the connection goes on with by itself (`api.connections`)."""


def takes_packed(request: Request) -> bool:
    """Whether an agent can unpack."""
    codings = [part.partition(";") for part in request.headers.get("accept-encoding", "").split(",")]
    return any(name.strip().lower() == DEFLATE and "q=0" not in more.split() for name, _, more in codings)


class Streamed(Response):
    """Chunks as they come, until the reader is gone. One that does not read for a minute is cut by the kernel (`api.serve`)."""

    media_type = "application/x-ndjson"

    def __init__(self, chunks: AsyncIterator[bytes], *, is_packed: bool) -> None:
        self.chunks = chunks
        coding = {"content-encoding": DEFLATE} if is_packed else {}
        super().__init__(headers={**coding, "vary": "accept-encoding", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if ENDLESS in scope:
            scope[ENDLESS].append(self.chunks)
            return
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(self._send(send), name="stream")
            reader = group.create_task(_until_gone(receive), name="its reader")
            sender.add_done_callback(lambda _: reader.cancel())
            reader.add_done_callback(lambda _: sender.cancel())

    async def _send(self, send: Any) -> None:
        """To the end of the chunks: the reader is not any more who it was."""
        try:
            async for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self.chunks.aclose()  # type: ignore[attr-defined]  # a generator's


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
