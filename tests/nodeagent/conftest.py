"""Fakes of an agent's surroundings: time that tests move, a control plane that says what they tell it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation import wire
from federation.errors import CausewayError, Unavailable
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.reconcile import Drivers
from nodeagent.settings import AgentSettings


class FakeClock:
    """Time stands still until `advance`; chance always says `chance`. `waits` are all that was asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.chance = 1.0
        self.waits: list[float] = []
        self.moved = asyncio.Event()
        self.asked = asyncio.Event()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def fraction(self) -> float:
        return self.chance

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.moved.set()
        self.moved = asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.asked.set()
        deadline = self.seconds + seconds
        while not event.is_set() and self.seconds < deadline:
            races = [asyncio.ensure_future(e.wait()) for e in (event, self.moved)]
            try:
                await asyncio.wait(races, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for race in races:
                    race.cancel()

    async def asked_for(self, seconds: float) -> None:
        """Return when somebody waits for so long."""
        while seconds not in self.waits:
            self.asked.clear()
            await asyncio.wait_for(self.asked.wait(), 5)


class FakeChannel:
    """ControlChannel of which the test holds the other end."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[wire.Message | CausewayError | None] = asyncio.Queue()
        """What the streams say next; an error breaks the stream, None ends it."""
        self.asked: asyncio.Queue[int | None] = asyncio.Queue()
        """`since` of every stream that was opened."""
        self.reports: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.keys: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.refusal: CausewayError | None = None
        """What reports and keys are answered with."""
        self.attempts = 0

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        self.asked.put_nowait(since)
        while (said := await self.lines.get()) is not None:
            if isinstance(said, CausewayError):
                raise said
            yield said

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        self._answer()
        self.keys.put_nowait((public_key, listen_port))

    async def report(self, revision: int, faults: Any) -> None:
        self._answer()
        self.reports.put_nowait((revision, faults))

    def say(self, *messages: wire.Message | CausewayError | None) -> None:
        for message in messages:
            self.lines.put_nowait(message)

    def go_away(self) -> None:
        self.say(Unavailable("the line is cut"))

    def _answer(self) -> None:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
async def drivers() -> Drivers:
    return Drivers(policy=FakeDriver(), tunnels=FakeDriver(), routes=FakeDriver())


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return AgentSettings(server="http://c", cluster="dc1", node="n1", state_dir=tmp_path)
