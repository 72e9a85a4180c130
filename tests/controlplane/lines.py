"""Streams as agents have them: line by line, wherever the parts that were sent end; and what an agent knows then."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from controlplane.hub import Hub
from federation import wire
from nodeagent.control.replica import Replica


async def whole_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes, in parts that end where lines do."""
    rest, generator = b"", cast(AsyncGenerator[bytes, None], chunks)
    async with aclosing(generator):
        async for chunk in generator:
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                yield whole + end


async def catch_up(replica: Replica, lines: AsyncIterator[bytes], wanted: int) -> None:
    """Until the agent knows that revision; `lines` are whole."""
    async with asyncio.timeout(30):
        while replica.state.revision != wanted:
            for line in (await anext(lines)).splitlines(keepends=True):
                replica.take(wire.decode(line))


def known(replica: Replica) -> dict[Any, Any]:
    """What an agent knows, by (kind, path)."""
    return {key: packed.whole() for key, packed in replica.state.documents.items()}  # type: ignore[attr-defined]


def visible(hub: Hub) -> dict[Any, Any]:
    """What a replica of the control plane knows, likewise."""
    return {(key.kind, key.path): held.document for key, held in hub.objects.items()}
