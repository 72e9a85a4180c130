"""The tunnel driver as the reconciler sees it, and the watch over it."""

import asyncio
from collections.abc import Awaitable, Callable

from nodeagent.drivers import DesiredTunnels, ObjectReport
from tunnels.driver.plan import TunnelSettings
from tunnels.driver.seam import TunnelDriver

LOOK_SECONDS = 0.5


class TunnelPart:
    """Driver[DesiredTunnels] on a WireGuard interface; without peers there is none."""

    def __init__(self, tunnel: TunnelDriver) -> None:
        self.tunnel = tunnel
        self.is_wanted = False

    @property
    def name(self) -> str:
        """The driver's."""
        return self.tunnel.name

    def converge(self, desired: DesiredTunnels) -> tuple[ObjectReport, ...]:
        """Make the interface so. Raises DriverError or PlatformLack."""
        self.is_wanted = desired.address is not None and bool(desired.peers)
        if desired.address is None or not desired.peers:
            self.tunnel.remove()
        else:
            settings = TunnelSettings(
                address=desired.address,
                listen_port=desired.listen_port,
                peers=desired.peers,
                mtu=desired.mtu,
            )
            self.tunnel.converge(settings)
        return ()

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Remove the interface."""
        self.is_wanted = False
        self.tunnel.remove()
        return ()

    async def watch(
        self, retry: Callable[[], None], pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """For ever: ask for a round as soon as the interface is gone though it is wanted (its process died)."""
        while True:
            await pause(LOOK_SECONDS)
            if self.is_wanted and not await asyncio.to_thread(self.tunnel.is_alive):
                retry()
