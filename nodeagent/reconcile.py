"""Makes a node as desired, part by part, and keeps it so. Verdicts come first: no path opens before what polices it stands."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from federation.errors import CausewayError
from nodeagent.drivers import Desired, DesiredPolicy, DesiredRoutes, DesiredTunnels, Driver, ObjectReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What touches the kernel, or a fake of it."""

    policy: Driver[DesiredPolicy]
    tunnels: Driver[DesiredTunnels]
    routes: Driver[DesiredRoutes]


class Reconciler:
    """Holds the latest desired state only; drivers run in one thread of their own."""

    def __init__(self, drivers: Drivers, resync_seconds: float = 30.0) -> None:
        self.drivers = drivers
        self.resync_seconds = resync_seconds
        self.faults: tuple[ObjectReport, ...] = ()
        self._latest: Desired | None = None
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drivers")

    def want(self, desired: Desired) -> None:
        """Replace what is wanted; a state that was not begun yet is forgotten."""
        self._latest = desired
        self._wake.set()

    def retry(self) -> None:
        """Converge once more on what is wanted."""
        self._wake.set()

    async def run(self, on_round: "Callable[[int, tuple[ObjectReport, ...]], Any]") -> None:
        """Converge on every change, and again every `resync_seconds` against drift; awaits `on_round(revision, faults)`."""
        failures = 0
        while True:
            wait = min(0.2 * 2**failures, self.resync_seconds) if failures else self.resync_seconds
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                failures = failures + 1 if self.faults else 0
            self._wake.clear()
            if self._latest is None:
                continue
            revision = self._latest.revision
            self.faults = await self.converge(self._latest)
            failures = max(failures, 1) if self.faults else 0
            await on_round(revision, self.faults)

    async def converge(self, desired: Desired) -> tuple[ObjectReport, ...]:
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
        return tuple(faults)
