"""When a verdict changed, told from stamped datagrams: which were sent and which came. Pure."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """A write to REST: when it was sent (the clock of the stamps), and whether datagrams pass under it."""

    at: float
    is_allowing: bool


def delays(writes: Sequence[Write], sent: Sequence[float], came: Sequence[float]) -> list[float]:
    """Seconds from each write to the first datagram that was judged under it. A write that changed nothing before the next one raises
    ValueError: it has no delay."""
    arrived = set(came)
    found = []
    ends = [*(write.at for write in writes[1:]), float("inf")]
    for write, end in zip(writes, ends, strict=True):
        stamps = sent[bisect_left(sent, write.at) : bisect_left(sent, end)]
        contrary = [n for n, stamp in enumerate(stamps) if (stamp in arrived) is not write.is_allowing]
        first = contrary[-1] + 1 if contrary else 0
        if first == len(stamps):
            raise ValueError("a write never reached the kernel")
        found.append(stamps[first] - write.at)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
