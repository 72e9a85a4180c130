"""Small writes of many, gathered into one transaction: what comes while one is under way goes into the next.

Thousands of nodes report after every change; a transaction for each would hold users' writes up for as long as so many syncs of a disk take. Who
brings something waits until it is kept, as with a transaction of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from federation.errors import CausewayError

K = TypeVar("K")
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """Of one kind of write; the latest of each key counts. `keep` writes what was gathered, all or nothing."""

    def __init__(self, keep: Callable[[Mapping[K, V]], Awaitable[None]]) -> None:
        self._keep = keep
        self._pending: dict[K, V] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()

    async def put(self, given: Mapping[K, V]) -> None:
        """Until it is kept. Raises what `keep` does."""
        kept = asyncio.get_running_loop().create_future()
        self._pending.update(given)
        self._waiting.append(kept)
        self._wake.set()
        await kept

    async def go_on(self) -> None:
        """For ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pending, self._pending = self._pending, {}
            waiting, self._waiting = self._waiting, []
            try:
                await self._keep(pending)
            except CausewayError as error:
                _tell(waiting, error)
            except BaseException:
                for kept in waiting:
                    kept.cancel()
                raise
            else:
                _tell(waiting)


def _tell(waiting: list[asyncio.Future[None]], error: CausewayError | None = None) -> None:
    for kept in waiting:
        if kept.done():  # who waited has gone
            continue
        if error is None:
            kept.set_result(None)
        else:
            kept.set_exception(error)
