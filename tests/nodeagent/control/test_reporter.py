"""Delivery: the newest value until it is taken, at once after a reconnect, in nobody's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from federation.errors import CausewayError, Forbidden, Unauthenticated, Unavailable
from nodeagent.control.reporter import Reporter

Said = list[tuple[str, str]]


@asynccontextmanager
async def running(channel: Any, clock: Any, said: Said) -> AsyncIterator[Reporter[Any]]:
    def changed(name: str, error: CausewayError | None) -> None:
        said.append((name, error.message if error else ""))

    reporter: Reporter[Any] = Reporter("report", lambda value: channel.report(*value), clock, changed)
    task = asyncio.ensure_future(reporter.run())
    try:
        yield reporter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def taken(channel: Any) -> Any:
    return await asyncio.wait_for(channel.reports.get(), 5)


async def test_a_report_that_was_lost_is_delivered_again(channel: Any, clock: Any) -> None:
    said: Said = []
    async with running(channel, clock, said) as reporter:
        channel.refusal = Unavailable("it is away")
        reporter.offer((1, ()))
        for seconds in (0.2, 0.4):
            await clock.asked_for(seconds)
            clock.advance(seconds)
        await clock.asked_for(0.8)
        assert channel.attempts == 3
        channel.refusal = None
        clock.advance(0.8)
        assert await taken(channel) == (1, ())
    assert said == [("report", "it is away"), ("report", "")]


async def test_a_newer_report_replaces_an_undelivered_one(channel: Any, clock: Any) -> None:
    async with running(channel, clock, []) as reporter:
        channel.refusal = Unavailable("it is away")
        reporter.offer((1, ()))
        await clock.asked_for(0.2)
        reporter.offer((2, ()))
        reporter.offer((3, ()))
        channel.refusal = None
        clock.advance(0.2)
        assert await taken(channel) == (3, ())
        assert channel.reports.empty()


async def test_after_a_reconnect_it_is_told_at_once(channel: Any, clock: Any) -> None:
    async with running(channel, clock, []) as reporter:
        channel.refusal = Unavailable("it is away")
        reporter.offer((1, ()))
        await clock.asked_for(0.2)
        channel.refusal = None
        reporter.reconnected()
        assert await taken(channel) == (1, ())
        assert clock.seconds == 0


async def test_a_control_plane_that_came_back_hears_the_last_report_again(channel: Any, clock: Any) -> None:
    async with running(channel, clock, []) as reporter:
        reporter.reconnected()
        reporter.offer((1, ()))
        assert await taken(channel) == (1, ())
        reporter.reconnected()
        assert await taken(channel) == (1, ())


@pytest.mark.parametrize("kind", [Unauthenticated, Forbidden])
async def test_a_refusal_is_said_once_and_tried_slower(channel: Any, clock: Any, kind: Any) -> None:
    said: Said = []
    async with running(channel, clock, said) as reporter:
        channel.refusal = kind("no")
        reporter.offer((1, ()))
        for seconds in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0):
            await clock.asked_for(seconds)
            clock.advance(seconds)
        channel.refusal = None
        clock.advance(60)
        assert await taken(channel) == (1, ())
    assert said == [("report", "no"), ("report", "")]
