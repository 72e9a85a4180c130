"""How often one may ask: each user and node, and each address that comes with a credential nobody has seen yet.

Buckets of tokens in this replica's memory; n replicas let n times as much through. Strangers are bounded by address, because to look a credential up
costs the database something; who is known already is never held up by what strangers do at the same address.
"""

from collections import OrderedDict
from dataclasses import dataclass

from fastapi import Request

from controlplane.clock import Clock
from federation.errors import TooMany

MOST = 50_000
"""Buckets that are kept; the ones that were asked least lately go first, and a new one is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Per second, lasting, and how many may come at once."""

    per_second: float = 200.0
    """Of one user, or node."""
    burst: float = 2_000.0
    strangers_per_second: float = 500.0
    """Of one address: joins, comebacks, credentials that this replica has not seen. All nodes may stand behind one address."""
    strangers_burst: float = 10_000.0


class Buckets:
    """By name."""

    def __init__(self, clock: Clock, per_second: float, burst: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How full it was, and when."""

    def wait_for(self, name: str) -> float:
        """Take one; 0, or the seconds until there is one again: then none was taken."""
        now = self._clock.monotonic()
        level, at = self._filled.pop(name, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        taken = level - 1 if level >= 1 else level
        self._filled[name] = taken, now
        while len(self._filled) > MOST:
            self._filled.popitem(last=False)
        return 0.0 if level >= 1 else (1 - level) / self._per_second


class Limits:
    """Of one replica."""

    def __init__(self, clock: Clock, settings: LimitSettings) -> None:
        self._known = Buckets(clock, settings.per_second, settings.burst)
        self._strangers = Buckets(clock, settings.strangers_per_second, settings.strangers_burst)
        self.refused = 0
        """For the metrics."""

    def admit(self, principal: str) -> None:
        """Raises TooMany."""
        self._take(self._known, principal, f"{principal} asks too often")

    def admit_stranger(self, request: Request) -> None:
        """Raises TooMany."""
        address = address_of(request)
        self._take(
            self._strangers, address, f"too many unknown credentials from {address or 'an unknown address'}"
        )

    def _take(self, buckets: Buckets, name: str, said: str) -> None:
        if seconds := buckets.wait_for(name):
            self.refused += 1
            raise TooMany(said, hint="wait as Retry-After says", seconds=seconds)


def limits_of(request: Request) -> Limits:
    """Of the application that serves a request."""
    limits: Limits = request.app.state.limits
    return limits


def address_of(request: Request) -> str:
    """Where a request came from: the end of its connection, which may be a balancer's. Headers that claim another are not believed."""
    return request.client.host if request.client else ""
