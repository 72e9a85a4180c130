"""A job beside the agent that does one small thing every so often, off the loop; what fails is said once and tried again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from federation.errors import CausewayError

LOG = structlog.get_logger("observe")


class Job:
    """`work` blocks, and says how many seconds to wait for the next time."""

    def __init__(self, name: str, work: Callable[[], float], seconds: float) -> None:
        """`seconds`: to the first time, and after a failure."""
        self.name = name
        self.seconds = seconds
        self._work = work
        self._said = ""

    async def watch(
        self, _retry: Callable[[], None], pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """For ever."""
        wait = self.seconds
        while True:
            await pause(wait)
            try:
                wait = await asyncio.to_thread(self._work)
                self._said = ""
            except (CausewayError, OSError) as error:
                wait = self.seconds
                if str(error) != self._said:
                    self._said = str(error)
                    LOG.warning("observation failed", what=self.name, detail=self._said)
