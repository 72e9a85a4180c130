"""Time as an argument."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

NOTABLE = timedelta(seconds=60)
"""A machine's clock that is so far off is worth a line of the log."""
LOG = structlog.get_logger(__name__)


class Clock(Protocol):
    """Wall and monotonic time."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...


class SharedClock(Clock, Protocol):
    """That of a replica: it goes by the store's."""

    def hear(self, told: datetime) -> None:
        """What the clock of the store says, which is that of all replicas."""
        ...


class SystemClock:
    """The machine's clock, until a store has told of its own: from then on that one's time, as the machine counts it on.

    So replicas agree on what is too old, and on the times in what they sign, and a machine whose clock is set, or was wrong all along, neither forgets
    idempotency keys too soon nor signs certificates of tomorrow. Only TLS itself, which judges certificates by the machine's clock, is not helped.
    """

    def __init__(self) -> None:
        self._told: tuple[datetime, float] | None = None
        self._is_off = False

    def now(self) -> datetime:
        """Aware, UTC."""
        if self._told is None:
            return _machine()
        at, since = self._told
        return at + timedelta(seconds=_passed() - since)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    def hear(self, told: datetime) -> None:
        """From now on by this."""
        self._told = (told, _passed())
        ahead = _machine() - told
        is_off = abs(ahead) > NOTABLE
        if is_off != self._is_off:
            self._is_off = is_off
            LOG.warning(
                "this machine's clock is not the database's: TLS judges certificates by it"
                if is_off
                else "this machine's clock is the database's again",
                ahead_seconds=round(ahead.total_seconds()),
            )


def _machine() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the one place that reads the clock


def _passed() -> float:
    """Seconds, also those that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
