"""Makes a node as desired, part by part, and keeps it so. Verdicts come first: no path opens before what polices it stands."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from federation.errors import CausewayError
from nodeagent.drivers import (
    DRIFT,
    Desired,
    DesiredPolicy,
    DesiredRoutes,
    Driver,
    ObjectReport,
    TunnelsDriver,
)
from nodeagent.pace import Clock, SystemClock, ceiling

Faults = tuple[ObjectReport, ...]
FIRST_RETRY_SECONDS = 0.2
SETTLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What touches the kernel, or a fake of it."""

    policy: Driver[DesiredPolicy]
    tunnels: TunnelsDriver
    routes: Driver[DesiredRoutes]

    def names(self) -> dict[str, str]:
        """What makes each part so, for people: a driver's `name`, or its class."""
        parts = {"policy": self.policy, "tunnels": self.tunnels, "routes": self.routes}
        return {
            part: str(getattr(driver, "name", "") or type(driver).__name__) for part, driver in parts.items()
        }


class Reconciler:
    """Holds the latest desired state only; drivers run in one thread of their own."""

    def __init__(self, drivers: Drivers, resync_seconds: float = 30.0, clock: Clock | None = None) -> None:
        self.drivers = drivers
        self.resync_seconds = resync_seconds
        self.faults: Faults = ()
        """What the drivers could not do in the last round."""
        self.drifts = 0
        """How often something was found altered by hand, and put right, since the start."""
        self.last_drift: ObjectReport | None = None
        self._clock = clock or SystemClock()
        self._latest: Desired | None = None
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drivers")

    def want(self, desired: Desired) -> None:
        """Replace what is wanted; a state that was not begun yet is forgotten."""
        self._latest = desired
        self._wake.set()

    def retry(self) -> None:
        """Converge once more on what is wanted, now: for who sees the kernel move. From the loop's own thread only."""
        self._wake.set()

    async def run(self, on_round: Callable[[Desired, Faults], None]) -> None:
        """Converge on every change, after a fault soon again (doubled waits), and every `resync_seconds` against drift. Calls
        `on_round(what was wanted, what the drivers could not do)`, which must not block."""
        failures = 0
        try:
            while True:
                await self._clock.wait(self._wake, wait_after(failures, self.resync_seconds))
                self._wake.clear()
                wanted = self._latest
                if wanted is None:
                    continue
                self.faults = await self.converge(wanted)
                failures = failures + 1 if self.faults else 0
                await self._settle()
                on_round(wanted, self.faults)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _settle(self) -> None:
        """Let new tunnels meet their other ends, so that what is reported as enforced works; a newer state does not wait for it."""
        loop = asyncio.get_running_loop()
        while not self._wake.is_set() and not await loop.run_in_executor(
            self._thread, self.drivers.tunnels.settle
        ):
            await self._clock.wait(self._wake, SETTLE_SECONDS)

    async def converge(self, desired: Desired) -> Faults:
        """One round: every part, each on its own; what is not ok."""
        loop = asyncio.get_running_loop()
        parts: tuple[tuple[str, Any, Any], ...] = (
            ("policy", self.drivers.policy, desired.policy),
            ("tunnels", self.drivers.tunnels, desired.tunnels),
            ("routes", self.drivers.routes, desired.routes),
        )
        faults: list[ObjectReport] = []
        for name, driver, part in parts:
            try:
                reports = await loop.run_in_executor(self._thread, driver.converge, part)
            except Exception as error:  # noqa: BLE001 - the top of the job: one part's fault must not end the others, or the agent
                code = error.code if isinstance(error, CausewayError) else "driver"
                faults.append(
                    ObjectReport(key=name, is_ok=False, reason=code, message=str(error) or repr(error))
                )
                if name == "policy":
                    break  # no path opens before what polices it stands; what stands already, stays
            else:
                faults += [report for report in reports if not report.is_ok]
                drifted = [report for report in reports if report.reason == DRIFT]
                if drifted:
                    self.drifts, self.last_drift = self.drifts + len(drifted), drifted[-1]
        return tuple(faults)


def wait_after(failures: int, resync_seconds: float) -> float:
    """Seconds to the next round after so many failing ones in a row."""
    if failures == 0:
        return resync_seconds
    return ceiling(failures, (FIRST_RETRY_SECONDS, resync_seconds))
