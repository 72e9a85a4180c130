"""Streams as no control plane tells them: cut at every byte, said twice, mixed, and with other bits. An agent shows whole states only, goes on, and ends
with what it is told at last."""

import asyncio
import json
import random
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from federation import wire
from federation.errors import CausewayError
from nodeagent.agent import Agent
from nodeagent.control import cache
from nodeagent.control.client import HttpChannel
from nodeagent.control.replica import Replica, State
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.pace import SystemClock
from nodeagent.reconcile import Drivers
from nodeagent.settings import AgentSettings, Secret


class HastyClock(SystemClock):
    """Retries without waiting."""

    def fraction(self) -> float:
        return 0.0005


def cluster(name: str, second: int) -> wire.Upsert:
    return wire.Upsert({"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": {"prefixes": [f"10.{second}.0.0/16"]}})  # fmt: skip


FIRST = [wire.Begin("snapshot", 3), cluster("a", 1), cluster("b", 2), wire.InSync(3)]
SECOND = [cluster("a", 9), wire.Delete("Cluster", "b"), wire.Commit(4)]
THIRD = [cluster("c", 3), wire.Commit(5)]
LINES = [wire.encode(message) for message in (*FIRST, *SECOND, *THIRD)]
BEFORE = State(revision=2, documents={("Cluster", "z"): cluster("z", 7).document})


class Body(httpx.AsyncByteStream):
    """Pieces, and then the line is cut."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.raw
        raise httpx.ReadError("cut")


async def shown(raw: bytes, start: State = BEFORE, *, is_packed: bool = False) -> list[State]:
    """Every state that is shown of a stream."""
    headers = {"content-encoding": "deflate"} if is_packed else {}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body(raw), headers=headers))
    channel, replica = HttpChannel("http://c", Secret("a.b"), answer), Replica(start)
    states = [start]
    try:
        async for message in channel.messages(start.resume_from):
            states += filter(None, [replica.take(message)])
    except CausewayError:
        await channel.close()
    return states


def meant(state: State) -> str:
    return json.dumps([dict(document) for document in state.documents.values()], sort_keys=True)


@pytest.fixture
async def wholes() -> list[str]:
    """What may be shown: before, and after each transaction."""
    return [meant(state) for state in await shown(b"".join(LINES))]


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "packed"])
async def test_a_stream_that_is_cut_at_any_byte_shows_whole_states_only(
    wholes: list[str], is_packed: bool
) -> None:
    raw = b"".join(LINES)
    raw = zlib.compress(raw) if is_packed else raw
    longest = 0
    for at in range(len(raw) + 1):
        told = [meant(state) for state in await shown(raw[:at], is_packed=is_packed)]
        assert told == wholes[: len(told)], at
        assert len(told) >= longest, "more of it never shows less"
        longest = len(told)
    assert longest == len(wholes) == 4


@pytest.mark.parametrize("times", [2, 5])
async def test_a_line_that_is_said_again_changes_nothing_or_is_refused(wholes: list[str], times: int) -> None:
    for at, line in enumerate(LINES):
        told = [
            meant(state) for state in await shown(b"".join([*LINES[:at], *[line] * times, *LINES[at + 1 :]]))
        ]
        assert set(told) <= set(wholes), at
        assert told[-1] == wholes[-1] or at == 0, at


async def test_the_rest_of_an_old_stream_in_a_new_one_is_refused(wholes: list[str]) -> None:
    new = [
        wire.encode(message)
        for message in (wire.Begin("snapshot", 8), *FIRST[1:-1], wire.InSync(8), *THIRD[:-1], wire.Commit(9))
    ]
    good = [meant(state) for state in await shown(b"".join(new))]
    for rest in range(1, len(LINES)):
        for at in range(len(new) + 1):
            told = [meant(state) for state in await shown(b"".join([*new[:at], *LINES[rest:], *new[at:]]))]
            assert set(told) <= {*good, *(wholes if at == 0 else ())}, (rest, at)


class Speaker:
    """A server that says what the test has made for each stream that is asked for, and then what is good, for ever."""

    def __init__(self, scripts: Iterator[tuple[bytes, str]], good: bytes) -> None:
        self.is_through = asyncio.Event()
        self._scripts = scripts
        self._good = good

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            if not asked.startswith(b"GET /agent/v1/stream"):
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            else:
                await self._speak(reader, writer)
        writer.close()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = next(self._scripts, None)
        said, coding = script or (self._good, "")
        head = f"content-encoding: {coding}\r\n" if coding else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n".encode() + said)
        await writer.drain()
        if script is None:
            self.is_through.set()
            await reader.read()  # until the agent is gone


@asynccontextmanager
async def followed(speaker: Speaker, folder: Path) -> AsyncIterator[tuple[Agent, "asyncio.Task[None]"]]:
    server = await asyncio.start_server(speaker.take, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = AgentSettings(server=url, cluster="a", node="n1", state_dir=folder)
    channel = HttpChannel(url, Secret("a.b"))
    drivers = Drivers(policy=FakeDriver(), tunnels=FakeDriver(), routes=FakeDriver())
    agent = Agent(settings, channel, drivers, HastyClock())
    task = asyncio.ensure_future(agent.run("k" * 43 + "="))
    try:
        yield agent, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await channel.close()
        server.close()


def odd(chance: random.Random) -> Iterator[tuple[bytes, str]]:
    """Real streams with other bits, cut, doubled, packed and not."""
    traps: list[Any] = [float("nan"), 10**400, -1, "\ud800", "\x00", None, [], {"a": {}}, True]
    for _ in range(150):
        raw = bytearray(b"".join(LINES))
        is_packed = chance.random() < 0.3
        if chance.random() < 0.3:
            document: dict[str, Any] = json.loads(json.dumps(FIRST[1].document))  # type: ignore[union-attr]
            where = chance.choice([document, document["metadata"], document["spec"]])
            where[chance.choice([*where, "odd", "\ud800"])] = chance.choice(traps)
            raw[len(LINES[0]) : len(LINES[0])] = (
                json.dumps({"op": "upsert", "object": document}).encode() + b"\n"
            )
        if is_packed:
            raw = bytearray(zlib.compress(raw))
        for _ in range(chance.randint(0, 3)):
            place = chance.randrange(len(raw) - 10)
            match chance.randrange(4):
                case 0:
                    raw[place] ^= 1 << chance.randrange(8)
                case 1:
                    raw = raw[: max(place, 20)]
                case 2:
                    raw[place:place] = chance.choice(
                        [b"\x00", b"\xff", b"\n", b"[" * 5000, b"9" * 5000, b"\xe2\x80\xa8"]
                    )
                case _:
                    raw[place:place] = raw[place : place + 50]
        yield bytes(raw), "deflate" if is_packed else chance.choice(["", "", "", "gzip", "identity"])


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_agent_survives_any_stream_and_ends_with_what_it_is_told_at_last(
    tmp_path: Path, seed: int
) -> None:
    good = [wire.Begin("snapshot", 3), *FIRST[1:3], cluster("last", 5), wire.InSync(77)]
    speaker = Speaker(odd(random.Random(seed)), b"".join(map(wire.encode, good)))
    with capture_logs() as logs:
        async with followed(speaker, tmp_path) as (agent, task), asyncio.timeout(60):
            await speaker.is_through.wait()
            while agent.book.status.revision_enforced != 77 or agent.book.status.faults:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
            while cache.peek(tmp_path / "cache.json").revision != 77:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.02)
    assert {path for _, path in cache.peek(tmp_path / "cache.json").documents} == {"a", "b", "last"}
    surprises = [log for log in logs if "was not followed" in str(log.get("detail")) or log["event"] == "watcher ended"]  # fmt: skip
    assert not surprises, f"seed {seed}"
