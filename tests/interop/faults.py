"""What chaos is done to: the processes, and what may happen to each."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.controlplane.faketime import MachineClock
from tests.controlplane.postgres import Server
from tests.deploy.test_replicas import Replica, at
from tests.interop.line import Line

ROOT = Path(__file__).parents[2]
SYNCED = "fsync=on"
"""A disk that nobody waits for cannot be slow."""


@dataclass
class Follower:
    """One agent's process, or the relay's."""

    state: Path
    words: tuple[str, ...] = ()
    """Of a relay: how it is run."""
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        words = [sys.executable, "-m", *(self.words or ("tests.interop.follower", str(self.state)))]
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@dataclass
class World:
    server: Server
    replicas: list[Replica]
    line: Line
    folder: Path
    chance: random.Random
    machines: list[MachineClock]
    """Of the replicas."""
    relay_port: int
    followers: list[Follower] = field(default_factory=list)
    relays: list[Follower] = field(default_factory=list)
    """The one of aws1, which its agents ask."""
    done: Counter[str] = field(default_factory=Counter)
    """What was done to it, and what writers met."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Idempotency key to the revision that was told."""
    made: dict[str, int] = field(default_factory=dict)
    """Path of each NetworkSet that was made to that revision."""
    is_over: bool = False

    async def supervise(self) -> None:
        """As systemd does: what ended is started again."""
        while True:
            for one in (*self.replicas, *self.followers, *self.relays):
                if one.process is not None and one.process.poll() is not None:
                    self.done["started again"] += 1
                    one.start()
            await asyncio.sleep(0.3)

    def remove(self) -> None:
        for one in (*self.replicas, *self.followers, *self.relays):
            if one.process is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.process.kill()
                one.process.wait(20)

    def user(self, url: str = "") -> httpx.AsyncClient:
        first = self.replicas[0]
        headers = {"Authorization": f"Bearer {first.token}"}
        return httpx.AsyncClient(base_url=url or at(first), headers=headers, timeout=4, verify=first.trust)


async def killed_replica(world: World) -> None:
    one = world.chance.choice(world.replicas)
    assert one.process is not None
    one.process.kill()


async def stopped_replica(world: World) -> None:
    one = world.chance.choice(world.replicas)
    process = one.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGCONT)


async def killed_agent(world: World) -> None:
    await asyncio.to_thread(world.chance.choice(world.followers).kill)


async def killed_relay(world: World) -> None:
    await asyncio.to_thread(world.relays[0].kill)


async def stopped_relay(world: World) -> None:
    process = world.relays[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGCONT)


async def killed_database(world: World) -> None:
    if world.chance.random() < 0.5:
        world.server.kill()
    await asyncio.to_thread(world.server.stop, "immediate")
    await asyncio.sleep(world.chance.uniform(0, 2))
    await asyncio.to_thread(world.server.start, SYNCED)


async def cut_lines(world: World) -> None:
    world.line.cut(world.chance.uniform(0.2, 1))


async def stalled_lines(world: World) -> None:
    world.line.goes_on.clear()
    await asyncio.sleep(world.chance.uniform(0.2, 2))
    world.line.cut(0.3)
    world.line.heal()


async def slow_lines(world: World) -> None:
    world.line.delay_seconds = world.chance.uniform(0.001, 0.05)
    await asyncio.sleep(1)
    world.line.cut(0.2)
    world.line.heal()


async def slow_disk(world: World) -> None:
    """Nothing is synced before a tenth of a second has passed: no commit is sooner."""

    def say(delay: int, siblings: int) -> None:
        for setting in (f"commit_delay = {delay}", f"commit_siblings = {siblings}"):
            world.server.ask(f"ALTER SYSTEM SET {setting}")
        world.server.ask("SELECT pg_reload_conf()")

    await asyncio.to_thread(say, 100_000, 0)
    await asyncio.sleep(2)
    await asyncio.to_thread(say, 0, 5)


async def set_clock(world: World) -> None:
    """One machine's, by hours or days: nodes' certificates have ended, or are not good yet, for its TLS."""
    machine = world.chance.choice(world.machines)
    for words in (world.chance.choice(("+2d", "-2d", "+7h", "-7h")), "+0"):
        machine.set(words)
        await asyncio.sleep(world.chance.uniform(1, 3))


FAULTS: list[Callable[[World], Awaitable[None]]] = [
    killed_replica, stopped_replica, killed_agent, killed_relay, stopped_relay, killed_database, cut_lines, cut_lines, stalled_lines, slow_lines, slow_disk, set_clock,
]  # fmt: skip
