"""Connections whose time is over are removed: the programs pass them over, but only we make room."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from federation.errors import CausewayError
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.bpf import PinnedMap

LOG = structlog.get_logger("sweep")
SWEEP_SECONDS = 10.0
WORDS = layout.CONNECTION.size // 8
"""8-byte words of a connection; the first is its deadline."""


def now() -> int:
    """The clock of deadlines, in nanoseconds (bpf_ktime_get_coarse_ns)."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def sweep(table: Path, moment: int) -> tuple[int, int]:
    """Remove what ended before a moment: (entries read, removed). Costs no system call for an entry. Raises DriverError."""
    held = PinnedMap(table, layout.CONNECTION_KEY.size, layout.CONNECTION.size)
    read = removed = 0
    try:
        for keys, values, size in held.chunks():
            over = expired(keys, values, moment)
            held.delete(over)
            read, removed = read + size, removed + len(over)
    finally:
        held.close()
    return read, removed


def expired(keys: bytes, values: bytes, moment: int) -> list[bytes]:
    """Keys of joined entries whose deadline is before a moment."""
    size = layout.CONNECTION_KEY.size
    deadlines = memoryview(values).cast("Q")[::WORDS].tolist()
    return [keys[n * size : n * size + size] for n, deadline in enumerate(deadlines) if deadline < moment]


class Sweeper:
    """A job beside the agent: sweeps the connections of the programs that hang now."""

    def __init__(self, table: Callable[[], Path]) -> None:
        self._table = table
        self._said = ""

    async def watch(
        self, _retry: Callable[[], None], pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """For ever. What fails is said once, and tried again."""
        while True:
            await pause(SWEEP_SECONDS)
            table = self._table()
            try:
                if await asyncio.to_thread(table.exists):
                    await asyncio.to_thread(sweep, table, now())
                self._said = ""
            except CausewayError as error:
                if error.message != self._said:
                    self._said = error.message
                    LOG.warning("connections were not swept", detail=error.message)
