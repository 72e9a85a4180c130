"""A relay's feed behind a control plane that says what the test wants: agents from elsewhere miss nothing, and never go back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.relay.disk import Disk
from api.relay.feed import RelayFeed
from controlplane.fanout.streams import Fanout
from controlplane.hub import Hub
from federation import wire
from federation.errors import Unauthenticated, Unavailable
from tests.api.relay.conftest import until
from tests.controlplane.lines import whole_lines
from tests.scenarios.conftest import EagerClock


def document(kind: str, name: str, spec: dict[str, Any], **meta: str) -> wire.Upsert:
    return wire.Upsert({"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec})  # fmt: skip


LINK = document("Link", "l", {"clusters": ["dc1", "aws1"], "mode": "wireguard", "topology": "mesh"})
FAR = document("Namespace", "shop", {}, cluster="aws1")
TIER = document("Tier", "t", {"order": 1})


class Source:
    """Streams by what is asked for: the test puts messages into the one that stands."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []
        self.known = 10**6
        self.queue: asyncio.Queue[wire.Message | Exception] = asyncio.Queue()

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        if since is not None and since >= 100:  # the question of an agent's revision
            yield wire.Begin("resume" if since <= self.known else "snapshot", 0)
            return
        self.asked.append(since)
        while True:
            message = await self.queue.get()
            if isinstance(message, Exception):
                raise message
            yield message

    def say(self, *messages: wire.Message | Exception) -> None:
        for message in messages:
            self.queue.put_nowait(message)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.source, self.hub = Source(), Hub()
        self.fanout = Fanout(self.hub, is_whole=True)
        self.feed = RelayFeed(self.source, self.hub, Disk(folder), EagerClock())

    async def heard(self, since: int | None) -> list[wire.Message]:
        """What an agent is told until it is in sync."""
        found: list[wire.Message] = []
        stream = whole_lines(self.fanout.stream("dc1", since))
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                found += map(wire.decode, chunk.splitlines())
                if isinstance(found[-1], wire.InSync):
                    break
        return found

    async def at(self, revision: int) -> None:
        await until(lambda: self.hub.revision == revision)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    task = asyncio.ensure_future(made.feed.follow())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        made.feed._disk.close()


async def begun(stage: Stage) -> None:
    stage.source.say(wire.Begin("snapshot", 10), TIER, wire.InSync(10))
    await stage.at(10)


async def test_an_agent_that_saw_more_in_between_is_told_that_it_is_gone(stage: Stage) -> None:
    await begun(stage)
    await stage.heard(None)  # there is a view
    stage.source.say(Unavailable("cut"))
    await until(lambda: not stage.feed.connected.is_set())
    far = wire.Delete("Namespace", "aws1/shop")  # it came and went while this relay was cut off
    stage.source.say(wire.Begin("resume", 20), LINK, far, wire.InSync(20))
    await stage.at(20)
    assert stage.source.asked == [None, 10]
    for since in (10, 15, 19):
        begin, *rest = await stage.heard(since)
        assert isinstance(begin, wire.Begin)
        assert begin.mode == "resume"
        assert far in rest


async def test_a_whole_state_after_a_gap_is_told_whole_to_everybody(stage: Stage) -> None:
    await begun(stage)
    stage.source.say(Unavailable("cut"))
    stage.source.say(wire.Begin("snapshot", 30), LINK, FAR, wire.InSync(30))
    await stage.at(30)
    for since in (10, 20, None):
        begin, *rest = await stage.heard(since)
        assert isinstance(begin, wire.Begin)
        assert begin.mode == "snapshot"
        assert TIER not in rest
        assert FAR in rest
    begin, *_ = await stage.heard(30)
    assert begin == wire.Begin("resume", 30)


async def test_a_line_that_names_no_object_is_made_good_by_a_whole_state(stage: Stage) -> None:
    await begun(stage)
    stage.source.say(wire.Upsert({"kind": "Tier"}), wire.Commit(11), Unavailable("cut"))
    await until(lambda: len(stage.source.asked) == 2)
    assert stage.source.asked == [None, None]


async def test_an_agent_from_elsewhere_waits_until_the_relay_knows_as_much(stage: Stage) -> None:
    await begun(stage)
    waiting = asyncio.ensure_future(stage.feed.reach(150))
    await asyncio.sleep(0)
    stage.source.say(wire.Commit(150))
    await asyncio.wait_for(waiting, 10)
    assert stage.hub.revision == 150


async def test_a_revision_that_the_control_plane_does_not_know_is_none(stage: Stage) -> None:
    await begun(stage)
    stage.source.known = 120
    await asyncio.wait_for(stage.feed.reach(500), 10)
    stage.source.say(Unavailable("cut"))
    await until(lambda: not stage.feed.connected.is_set())
    with pytest.raises(Unavailable, match="and you 500 already"):
        await stage.feed.reach(500)


async def test_a_refusal_is_remembered_until_the_relay_is_let_in_again(stage: Stage) -> None:
    await begun(stage)
    stage.source.say(Unauthenticated("void"))
    await until(lambda: stage.feed.refusal)
    stage.source.say(wire.Begin("resume", 10), wire.InSync(12))
    await until(lambda: not stage.feed.refusal)
