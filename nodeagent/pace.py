"""Time and pace of the agent: its clock, its back-off, and the value that one stage leaves for the next."""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from federation.errors import CausewayError, Unavailable

T = TypeVar("T")
AWAY = (0.2, 15.0)
"""First ceiling and cap, in seconds, while something is away: it may be back any moment."""
REFUSED = (2.0, 60.0)
"""The same after a refusal (401, 403 …): only a person changes that, and the log should stay readable."""
LASTED_SECONDS = 10.0
"""A connection that stood this long was good: the next loss starts the back-off anew. A shorter one may be part of a crash loop."""


class Clock(Protocol):
    """Time and chance as an argument."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start."""
        ...

    def fraction(self) -> float:
        """A random number in 0…1, which spreads the retries of many agents."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or after that many seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one place of the agent that reads the clock

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    def fraction(self) -> float:
        """A random number in 0…1."""
        return random.random()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or after that many seconds."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return


def ceiling(failures: int, bounds: tuple[float, float] = AWAY) -> float:
    """Longest wait before try number `failures + 1`: doubled each time, capped."""
    first, cap = bounds
    return min(first * 2.0 ** min(failures - 1, 30), cap)  # an exponent without bound is an overflow some day


@dataclass(slots=True)
class Backoff:
    """Retries with full jitter: anything from nothing to the ceiling, so that agents that lost the same server do not come back at once."""

    clock: Clock
    failures: int = 0

    def after(self, error: CausewayError) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        bounds = AWAY if isinstance(error, Unavailable) else REFUSED
        return self.clock.fraction() * ceiling(self.failures, bounds)

    def reset(self) -> None:
        """It works again."""
        self.failures = 0


class Latest(Generic[T]):
    """What one stage passes to the next instead of a queue: the newest value, older ones are forgotten."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._values: list[T] = []

    def put(self, value: T) -> None:
        """Replace what was not taken yet."""
        self._values = [value]
        self.arrived.set()

    def put_back(self, value: T) -> None:
        """Give a value back that could not be used; a newer one wins."""
        if not self._values:
            self.put(value)

    async def take(self) -> T:
        """The newest value, once there is one."""
        await self.arrived.wait()
        self.arrived.clear()
        return self._values.pop()
