"""What goes up to the control plane: the newest value, delivered until it is taken, never in the way of anything else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from federation.errors import CausewayError, DriverError
from nodeagent.pace import Backoff, Clock, Latest

LOG = structlog.get_logger("agent")
T = TypeVar("T")


class Reporter(Generic[T]):
    """One thing to tell (the last report, the public key), and the job that tells it. A newer value replaces an undelivered one."""

    def __init__(
        self,
        name: str,
        send: Callable[[T], Awaitable[None]],
        clock: Clock,
        on_change: Callable[[str, CausewayError | None], None],
    ) -> None:
        self.name = name
        self.fault: CausewayError | None = None
        """Why the newest value was not taken yet."""
        self._send = send
        self._clock = clock
        self._on_change = on_change
        self._due: Latest[T] = Latest()
        self._told: list[T] = []
        self._again = asyncio.Event()

    def offer(self, value: T) -> None:
        """Tell this from now on."""
        self._due.put(value)

    def reconnected(self) -> None:
        """Tell the newest value at once, and once more though it was taken: a control plane that comes back may have lost it."""
        for value in self._told:
            self._due.put_back(value)
        self._again.set()

    async def run(self) -> None:
        """For ever."""
        backoff = Backoff(self._clock)
        while True:
            value = await self._due.take()
            self._told = [value]
            self._again.clear()
            fault = await self._fault_of(value)
            if fault is not None:
                self._became(fault)
                self._due.put_back(value)
                await self._clock.wait(self._again, backoff.after(fault))
            else:
                self._became(None)
                backoff.reset()

    async def _fault_of(self, value: T) -> CausewayError | None:
        """Why it was not taken; None: it was."""
        try:
            await self._send(value)
        except CausewayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the top of the job: what cannot be told must not end the agent
            return DriverError(f"it could not be sent: {error!r}")
        return None

    def _became(self, fault: CausewayError | None) -> None:
        if (fault and fault.message) == (self.fault and self.fault.message):
            return  # said once
        self.fault = fault
        if fault is not None:
            LOG.warning("delivery failed", what=self.name, code=fault.code, detail=fault.message)
        self._on_change(self.name, fault)
