"""The tunnel driver as the reconciler sees it, and the watch over it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from federation.errors import CausewayError
from nodeagent.drivers import DesiredTunnels, ObjectReport
from tunnels.driver.plan import TunnelSettings
from tunnels.driver.seam import TunnelDriver

LOOK_SECONDS = 0.5
ANEW_SECONDS = (0.5, 1.0)
"""When the end with the smaller key, and when the other, begins its first handshake anew: never both at once."""
PATIENCE_SECONDS = 2.0
"""How long a first handshake is waited for; a peer that is down answers later, to WireGuard's own repetitions."""


@dataclass(slots=True)
class Meeting:
    """A peer that has not answered yet, since `since` (monotonic seconds)."""

    since: float
    is_begun_anew: bool = False


class TunnelPart:
    """Driver[DesiredTunnels] on a WireGuard interface; without peers there is none."""

    def __init__(self, tunnel: TunnelDriver, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.tunnel = tunnel
        self.is_wanted = False
        self._monotonic = monotonic
        self._wanted = DesiredTunnels()
        self._meetings: dict[str, Meeting | None] = {}
        """By public key, of every peer that was looked at; None: it answered, or was waited for long enough."""

    @property
    def name(self) -> str:
        """The driver's."""
        return self.tunnel.name

    def converge(self, desired: DesiredTunnels) -> tuple[ObjectReport, ...]:
        """Make the interface so. Raises DriverError or PlatformLack."""
        self.is_wanted = desired.address is not None and bool(desired.peers)
        self._wanted = desired
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

    def settle(self) -> bool:
        """Whether every new peer has answered, or was waited for long enough; to be asked again until it is so. A first
        handshake that went wrong is begun anew."""
        keys = {peer.public_key for peer in self._wanted.peers}
        if self._meetings.keys() == keys and not any(self._meetings.values()):
            return True
        self._meetings = {key: self._meetings.get(key, Meeting(self._monotonic())) for key in keys}
        try:
            return not self.is_wanted or self._look_after()
        except CausewayError:
            return True  # the next round says what is wrong

    def _look_after(self) -> bool:
        standing = self.tunnel.observed()
        if standing is None:
            return True
        now = self._monotonic()
        anew = []
        for peer in self._wanted.peers:
            key = peer.public_key
            meeting = self._meetings[key]
            if meeting is None:
                continue
            waited = now - meeting.since
            if standing.handshakes.get(key) or waited > PATIENCE_SECONDS:
                self._meetings[key] = None
            elif waited > ANEW_SECONDS[standing.public_key > key] and not meeting.is_begun_anew:
                meeting.is_begun_anew = True
                anew.append(peer)
        if anew:
            self.tunnel.begin_anew(anew)
        return not any(self._meetings.values())

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Remove the interface."""
        self.is_wanted = False
        self._wanted = DesiredTunnels()
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
