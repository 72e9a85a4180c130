"""Back-off with full jitter, and the value between two stages."""

import asyncio
from typing import Any

import pytest

from federation.errors import Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from nodeagent.pace import Backoff, Latest, SystemClock


def waits(clock: Any, error: Any, count: int) -> list[float]:
    backoff = Backoff(clock)
    return [round(backoff.after(error), 3) for _ in range(count)]


async def test_what_is_away_is_tried_soon_and_then_at_most_every_fifteen_seconds(clock: Any) -> None:
    assert waits(clock, Unavailable("x"), 9) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]


@pytest.mark.parametrize("kind", [Unauthenticated, Forbidden, Conflict, InvalidInput])
async def test_a_refusal_is_tried_slower_and_at_most_every_minute(clock: Any, kind: Any) -> None:
    assert waits(clock, kind("x"), 7) == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_jitter_is_full_and_a_day_of_failures_is_no_overflow(clock: Any) -> None:
    clock.chance = 0.0
    assert set(waits(clock, Unavailable("x"), 5)) == {0.0}
    clock.chance = 0.5
    assert waits(clock, Unavailable("x"), 10_000)[-1] == 7.5


async def test_after_success_the_backoff_starts_anew(clock: Any) -> None:
    backoff = Backoff(clock)
    assert [backoff.after(Unavailable("x")) for _ in range(3)][-1] == 0.8
    backoff.reset()
    assert backoff.after(Unavailable("x")) == 0.2


def test_the_clock_of_the_machine_is_aware_and_its_chance_is_a_fraction() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is not None
    assert clock.monotonic() <= clock.monotonic()
    assert all(0 <= clock.fraction() < 1 for _ in range(100))


async def test_a_wait_ends_with_its_event_or_its_time() -> None:
    event = asyncio.Event()
    await SystemClock().wait(event, 0.0)
    event.set()
    await asyncio.wait_for(SystemClock().wait(event, 1000), 5)


async def test_only_the_newest_value_is_taken_and_a_value_put_back_yields_to_a_newer_one() -> None:
    latest: Latest[int] = Latest()
    latest.put(1)
    latest.put(2)
    assert await latest.take() == 2
    latest.put_back(2)
    assert await latest.take() == 2
    latest.put(3)
    latest.put_back(2)
    assert await latest.take() == 3
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(latest.take(), 0)
