"""An agent as a process of its own, with its real channel, cache and renewal, on drivers that touch nothing: `python -m tests.interop.follower STATE_DIR`."""

import asyncio
import sys
from pathlib import Path

from nodeagent.agent import Agent
from nodeagent.control.client import HttpChannel
from nodeagent.control.renewal import Renewal
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.pace import SystemClock
from nodeagent.reconcile import Drivers
from nodeagent.settings import load_settings


class EagerClock(SystemClock):
    """Retries ten times as quick."""

    def fraction(self) -> float:
        return super().fraction() / 10


async def follow(state_dir: Path) -> None:
    """For ever."""
    settings, clock = load_settings(state_dir), EagerClock()
    channel = HttpChannel(settings.server, settings.credential, identity_dir=state_dir)
    drivers = Drivers(policy=FakeDriver(), tunnels=FakeDriver(), routes=FakeDriver())
    agent = Agent(settings, channel, drivers, clock)
    renewal = Renewal(channel, state_dir, clock, agent.book.note)
    key = f"{settings.cluster}{settings.node}".ljust(43, "k") + "="
    await agent.run(key, [renewal.watch])


if __name__ == "__main__":
    asyncio.run(follow(Path(sys.argv[1])))
