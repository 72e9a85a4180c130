"""A dataplane in memory: keeps what it was told, judges by the tables, fails on demand."""

import asyncio
from ipaddress import IPv4Address

from federation.errors import DriverError
from federation.identities import WORLD
from federation.policy.tables import Direction, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.drivers import DesiredPolicy, DesiredRoutes, DesiredTunnels, ObjectReport


class FakeDriver:
    """Driver of any part: remembers the last value. `failure` makes the next rounds fail; `taken` is set when it got one."""

    def __init__(self) -> None:
        self.value: DesiredPolicy | DesiredTunnels | DesiredRoutes | None = None
        self.failure = ""
        self.loop = asyncio.get_running_loop()
        self.taken = asyncio.Event()

    def converge(self, desired: DesiredPolicy | DesiredTunnels | DesiredRoutes) -> tuple[ObjectReport, ...]:
        """Take the value. Raises DriverError on demand."""
        if self.failure:
            raise DriverError(self.failure)
        self.value = desired
        self.loop.call_soon_threadsafe(self.taken.set)
        return ()

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Forget it."""
        self.value = None
        return ()


def verdict(policy: DesiredPolicy, source: IPv4Address, destination: IPv4Address, packet: Packet) -> Verdict:
    """What a node with this policy says of a new connection, for those ends that are its own."""
    said = [Verdict.ALLOW]
    for own, other, direction in (
        (source, destination, Direction.EGRESS),
        (destination, source, Direction.INGRESS),
    ):
        for attachment in policy.attachments:
            if own in attachment.addresses:
                row = peer_row(policy.tables, policy.addresses.get(other, WORLD), other)
                said.append(walk(policy.tables, attachment.class_number, direction, row, packet)[0])
    return min(said)
