"""The agent on fake drivers, a fake channel and a fake clock: what it says, to whom, and that nothing ends it."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from federation import wire
from federation.errors import Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from nodeagent.agent import Agent
from nodeagent.control import cache
from nodeagent.control.replica import State, key_of
from nodeagent.desired import Decider
from nodeagent.drivers import DRIFT, Desired, ObjectReport
from nodeagent.status import AgentStatus, load_status

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 43 + "="


class Watched(Agent):
    """An agent whose test waits for what it says of itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.changed = asyncio.Event()
        self.wrote = asyncio.Event()
        put, take = self._to_write.put, self._to_write.take

        def note(status: AgentStatus) -> None:
            put(status)
            self.changed.set()

        async def next_to_write() -> AgentStatus:
            self.wrote.set()
            return await take()

        self.book._on_change = note
        self._to_write.take = next_to_write  # type: ignore[method-assign]

    async def until(self, is_so: Callable[[AgentStatus], object], seconds: float = 10) -> AgentStatus:
        async def wait() -> AgentStatus:
            while not is_so(self.book.status):
                self.changed.clear()
                await self.changed.wait()
            return self.book.status

        return await asyncio.wait_for(wait(), seconds)


@asynccontextmanager
async def running(agent: Agent, *args: Any) -> AsyncIterator[Any]:
    task = asyncio.ensure_future(agent.run(*args))
    try:
        yield agent
        assert not task.done(), "the agent ended"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def agent(settings: Any, channel: Any, drivers: Any, clock: Any) -> Watched:
    return Watched(settings, channel, drivers, clock)


def snapshot(world: list[dict[str, Any]], revision: int) -> list[wire.Message]:
    return [wire.Begin("snapshot", revision), *map(wire.Upsert, world), wire.InSync(revision)]


async def reported(channel: Any) -> Any:
    return await asyncio.wait_for(channel.reports.get(), 10)


async def until_reported(channel: Any, is_so: Callable[[int, Any], object]) -> tuple[int, Any]:
    while not is_so(*(said := await reported(channel))):
        pass
    return said  # type: ignore[no-any-return]


async def test_what_the_control_plane_says_is_enforced_kept_and_acknowledged(
    agent: Watched, channel: Any, drivers: Any, worlds: Any, tmp_path: Path
) -> None:
    async with running(agent, KEY):
        channel.say(*snapshot(worlds["linked"], 5))
        assert await reported(channel) == (5, ())
        assert [a.endpoint for a in drivers.policy.value.attachments] == ["dc1/shop/db"]
        assert [p.name for p in drivers.tunnels.value.peers] == ["aws1/n1"]
        assert await asyncio.wait_for(channel.keys.get(), 5) == (KEY, 51820)
        channel.say(wire.Commit(6))
        assert await reported(channel) == (6, ())
        status = await agent.until(lambda s: s.revision_enforced == 6)
        assert (status.revision_wanted, status.faults, status.cache) == (6, (), "ok")
        assert status.connected_since is not None
    kept, _ = cache.load(tmp_path / "cache.json")
    assert set(kept.documents) == {key_of(d) for d in worlds["linked"]}


async def test_the_status_file_follows_the_connection(
    agent: Watched, channel: Any, worlds: Any, clock: Any, tmp_path: Path
) -> None:
    async def written(is_so: Callable[[AgentStatus], object]) -> AgentStatus:
        while not (tmp_path / "status.json").exists() or not is_so(load_status(tmp_path)):
            agent.wrote.clear()
            await agent.wrote.wait()
        return load_status(tmp_path)

    async with running(agent):
        channel.say(*snapshot(worlds["alone"], 5))
        status = await asyncio.wait_for(written(lambda s: s.revision_enforced == 5), 10)
        assert (status.connected_since, status.node) == (clock.now(), "n1")
        assert status.drivers == dict.fromkeys(("policy", "tunnels", "routes"), "FakeDriver")
        channel.go_away()
        status = await asyncio.wait_for(written(lambda s: s.connected_since is None), 10)
        assert (status.last_error, status.revision_enforced) == ("the line is cut", 5)


async def test_heartbeats_are_read_while_a_compile_takes_long_and_only_the_newest_state_follows(
    agent: Watched, channel: Any, worlds: Any
) -> None:
    gate, begun, decided = threading.Event(), asyncio.Event(), asyncio.Queue[int]()
    loop = asyncio.get_running_loop()

    class SlowDecider(Decider):
        def decide(self, state: State) -> Desired:
            loop.call_soon_threadsafe(begun.set)
            if not gate.wait(10):
                raise TimeoutError
            return super().decide(state)

    agent._decider = SlowDecider(agent.settings.key)
    agent.reconciler.want = lambda wanted: decided.put_nowait(wanted.revision)  # type: ignore[method-assign]
    async with running(agent):
        channel.say(*snapshot(worlds["linked"], 1))
        await asyncio.wait_for(begun.wait(), 5)
        for revision in (2, 3, 4):
            channel.say(wire.Commit(revision))
            await agent.until(lambda s, revision=revision: s.revision_wanted == revision)
        assert decided.empty()
        gate.set()
        assert [await asyncio.wait_for(decided.get(), 5) for _ in range(2)] == [1, 4]


async def test_ten_thousand_changes_in_a_burst_coalesce_and_the_stream_is_read_on_meanwhile(
    agent: Watched, channel: Any, drivers: Any, worlds: Any
) -> None:
    """Commits are the stream's keep-alive: they are read while a slow kernel holds a round, and the rounds that follow are few."""
    burst = 10_000
    (endpoint,) = (d for d in worlds["alone"] if d["kind"] == "Endpoint")
    async with running(agent):
        channel.say(*snapshot(worlds["alone"], 1))
        await agent.until(lambda s: s.revision_enforced == 1)
        before = drivers.policy.rounds
        drivers.policy.begun.clear()
        drivers.policy.gate.clear()
        for number in range(burst):
            meta = {**endpoint["metadata"], "name": f"e{number}"}
            spec = {**endpoint["spec"], "addresses": [f"10.9.{number >> 8}.{number & 255}"]}
            channel.say(wire.Upsert({**endpoint, "metadata": meta, "spec": spec}), wire.Commit(2 + number))
        await asyncio.wait_for(drivers.policy.begun.wait(), 10)
        status = await agent.until(lambda s: s.revision_wanted == burst + 1, seconds=60)
        assert status.revision_enforced == 1, "the kernel is still at its first round"
        channel.say(wire.Commit(burst + 2))
        await agent.until(lambda s: s.revision_wanted == burst + 2)
        drivers.policy.gate.set()
        await agent.until(lambda s: s.revision_enforced == burst + 2, seconds=60)
        assert len(drivers.policy.value.attachments) == burst + 1
        assert drivers.policy.rounds - before <= 4


async def test_a_slow_report_does_not_hold_the_next_round(
    agent: Watched, channel: Any, drivers: Any, worlds: Any
) -> None:
    never = asyncio.Event()

    async def stuck(revision: int, faults: Any) -> None:
        await never.wait()

    channel.report = stuck
    async with running(agent):
        channel.say(*snapshot(worlds["linked and open"], 1))
        await agent.until(lambda s: s.revision_enforced == 1)
        channel.say(*snapshot(worlds["linked and closed"], 2))
        await agent.until(lambda s: s.revision_enforced == 2)
        assert drivers.policy.rounds == 2


async def test_a_state_that_cannot_be_compiled_is_told_and_the_last_good_one_stays(
    agent: Watched, channel: Any, drivers: Any, worlds: Any
) -> None:
    broken = dict(worlds["linked and open"][-1])
    broken["spec"] = {"selector": "app ==", "types": ["Ingress"]}
    async with running(agent):
        channel.say(*snapshot(worlds["linked"], 1))
        assert await reported(channel) == (1, ())
        good = drivers.policy.value
        channel.say(wire.Upsert(broken), wire.Commit(2))
        revision, faults = await reported(channel)
        assert (revision, [fault[:2] for fault in faults]) == (1, [("revision 2", "compiler")])
        assert drivers.policy.value is good
        channel.say(wire.Delete(*key_of(broken)), wire.Commit(3))
        assert await until_reported(channel, lambda revision, _: revision == 3) == (3, ())


async def test_one_bad_line_is_reported_and_healed_by_asking_for_a_snapshot(
    agent: Watched, channel: Any, clock: Any, worlds: Any
) -> None:
    async with running(agent):
        assert await channel.asked.get() is None
        bad = wire.Upsert({"kind": "Cluster"})
        channel.say(wire.Begin("snapshot", 4), *map(wire.Upsert, worlds["linked"]), bad, wire.InSync(4))
        revision, faults = await reported(channel)
        assert (revision, [fault[:2] for fault in faults]) == (4, [("stream", "unreadable")])
        channel.go_away()
        await clock.asked_for(0.2)
        clock.advance(0.2)
        assert await asyncio.wait_for(channel.asked.get(), 5) is None
        channel.say(*snapshot(worlds["linked"], 4))
        await until_reported(channel, lambda _, faults: faults == ())


async def test_losses_are_retried_with_doubled_waits_and_a_good_connection_starts_anew(
    agent: Watched, channel: Any, clock: Any
) -> None:
    async with running(agent):
        for seconds in (0.2, 0.4, 0.8):
            channel.go_away()
            await clock.asked_for(seconds)
            clock.advance(seconds)
        channel.say(wire.Begin("snapshot", 1))
        await agent.until(lambda s: s.connected_since)
        channel.go_away()  # it did not last
        await clock.asked_for(1.6)
        clock.advance(1.6)
        channel.say(wire.Begin("snapshot", 1))
        await agent.until(lambda s: s.connected_since)
        clock.advance(11)
        clock.waits.clear()
        channel.go_away()
        await clock.asked_for(0.2)


@pytest.mark.parametrize("kind", [Unauthenticated, Forbidden])
async def test_a_refusal_is_said_once_tried_every_minute_and_never_ends_the_agent(
    agent: Watched, channel: Any, clock: Any, kind: Any, worlds: Any
) -> None:
    with capture_logs() as logs:
        async with running(agent):
            for seconds in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
                clock.waits.clear()
                channel.say(kind("not you", hint="join again"))
                await clock.asked_for(seconds)
                clock.advance(seconds)
            assert agent.book.status.last_error == "not you"
            channel.say(*snapshot(worlds["alone"], 1))
            assert await reported(channel) == (1, ())
    said = [log for log in logs if log["event"] == "control plane was lost"]
    assert [(log["log_level"], log["hint"]) for log in said] == [("error", "join again")]


@pytest.mark.parametrize("error", [Unavailable("x"), InvalidInput("x"), Conflict("x"), None])
async def test_however_a_stream_ends_the_agent_asks_again_from_its_revision(
    agent: Watched, channel: Any, clock: Any, worlds: Any, error: Any
) -> None:
    async with running(agent):
        channel.say(*snapshot(worlds["alone"], 8))
        assert await reported(channel) == (8, ())
        channel.say(error)
        await agent.until(lambda s: s.connected_since is None)
        clock.advance(60)
        assert await channel.asked.get() is None
        assert await asyncio.wait_for(channel.asked.get(), 5) == 8


async def test_a_key_that_is_refused_costs_the_tunnels_and_is_told(
    agent: Watched, channel: Any, worlds: Any, clock: Any
) -> None:
    async def refused(key: str, port: int) -> None:
        raise Conflict("another node has this key")

    accepted, channel.publish_key = channel.publish_key, refused
    async with running(agent, KEY):
        channel.say(*snapshot(worlds["alone"], 1))
        _, faults = await until_reported(channel, lambda _, faults: faults)
        assert faults == (("public key", "conflict", "another node has this key"),)
        channel.publish_key = accepted
        clock.advance(60)
        await until_reported(channel, lambda _, faults: faults == ())


async def test_a_corrupt_cache_is_said_in_the_status_until_there_is_a_new_one(
    agent: Watched, channel: Any, worlds: Any, tmp_path: Path
) -> None:
    (tmp_path / "cache.json").write_bytes(b"\x00rubbish")
    async with running(agent):
        status = await agent.until(lambda s: s.cache != "ok")
        assert "cache.corrupt" in status.cache
        channel.say(*snapshot(worlds["alone"], 1))
        await agent.until(lambda s: s.cache == "ok")


async def test_a_disk_that_refuses_the_cache_is_reported_and_enforcement_goes_on(
    agent: Watched, channel: Any, clock: Any, worlds: Any, tmp_path: Path
) -> None:
    (tmp_path / "cache.new").mkdir()
    async with running(agent):
        channel.say(*snapshot(worlds["alone"], 1))
        revision, faults = await until_reported(channel, lambda revision, faults: revision and faults)
        assert (revision, [fault[0] for fault in faults]) == (1, ["cache"])
        assert "was not written" in agent.book.status.cache
        (tmp_path / "cache.new").rmdir()
        clock.advance(15)
        await until_reported(channel, lambda _, faults: faults == ())
        assert agent.book.status.cache == "ok"
    assert cache.load(tmp_path / "cache.json")[0].revision == 1


@pytest.mark.parametrize("part", ["policy", "tunnels", "routes"])
async def test_a_failing_driver_is_reported_and_its_recovery_too(
    agent: Watched, channel: Any, drivers: Any, clock: Any, worlds: Any, part: str
) -> None:
    getattr(drivers, part).failure = "no buffer space"
    async with running(agent):
        channel.say(*snapshot(worlds["linked"], 1))
        assert await reported(channel) == (1, ((part, "driver", "no buffer space"),))
        assert agent.book.status.last_error == f"{part}: no buffer space"
        getattr(drivers, part).failure = ""
        clock.advance(0.2)
        assert await reported(channel) == (1, ())


async def test_drift_is_counted_in_the_status_with_what_was_found_and_when(
    agent: Watched, channel: Any, drivers: Any, worlds: Any
) -> None:
    drivers.policy.reports = (ObjectReport(key="map rules", is_ok=True, reason=DRIFT, message="1 altered"),)
    async with running(agent):
        channel.say(*snapshot(worlds["alone"], 3))
        status = await agent.until(lambda s: s.drifts)
        assert (status.drifts, status.last_drift) == (1, "map rules: 1 altered")
        assert status.last_drift_at == agent.clock.now()
        assert status.faults == ()


async def test_a_watcher_may_ask_for_a_round_and_its_end_is_not_the_agents(
    agent: Watched, channel: Any, worlds: Any
) -> None:
    seen = asyncio.Event()

    async def watcher(retry: Callable[[], None]) -> None:
        await seen.wait()
        retry()
        raise OSError("the socket is gone")

    async with running(agent, "", [watcher]):
        channel.say(*snapshot(worlds["alone"], 1))
        assert await reported(channel) == (1, ())
        seen.set()
        assert await reported(channel) == (1, ())
        await agent.until(lambda s: "the socket is gone" in s.last_error)


@pytest.mark.parametrize("module", ["bcc", "rich", "typer", "fastapi", "sqlalchemy"])
def test_the_agents_process_needs_no_library_of_the_other_processes(module: str) -> None:
    """`None` in sys.modules makes an import fail; two libraries of the agent (structlog, httpx) take rich when it is there."""
    script = f"import sys; sys.modules[{module!r}] = None; import api.agent"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=ROOT)


def test_the_agents_process_imports_no_library_of_the_other_processes() -> None:
    script = "import sys, api.agent; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True
    )
    unneeded = {
        "bcc",
        "typer",
        "fastapi",
        "sqlalchemy",
        "controlplane",
        "uvicorn",
        "cryptography",
        "prometheus_client",
    }
    assert not unneeded & set(done.stdout.split())


class Counted:
    """Totals that the test moves."""

    def __init__(self) -> None:
        self.waiting: dict[Any, tuple[int, int]] = {}

    def untold(self, most: int) -> dict[Any, tuple[int, int]]:
        return dict(list(self.waiting.items())[:most])

    def told(self, counts: Any) -> None:
        self.waiting = {rule: count for rule, count in self.waiting.items() if rule not in counts}


async def test_counts_of_rules_are_told_when_they_have_changed_and_again_when_they_were_not_taken(
    agent: Watched, channel: Any, clock: Any, worlds: Any
) -> None:
    counted = Counted()
    counted.waiting = {n: (n, n) for n in range(1500)}
    async with running(agent, "", (), counted):
        channel.say(*snapshot(worlds["alone"], 7))
        await reported(channel)
        channel.refusal = Unavailable("busy")
        await clock.asked_for(30.0)
        clock.advance(30)
        await asyncio.wait_for(channel.was_told.wait(), 10)
        channel.refusal = None
        clock.waits.clear()
        await clock.asked_for(30.0)
        clock.advance(30)
        told = [await asyncio.wait_for(channel.counts.get(), 10) for _ in range(2)]
        assert [len(counts) for counts in told] == [1000, 500]
        assert counted.waiting == {}
        assert channel.counts.empty()
