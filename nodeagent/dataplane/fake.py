"""A dataplane in memory: keeps what it was told, judges by the tables, fails on demand."""

import asyncio
import threading
from collections.abc import Sequence

from federation.errors import DriverError
from federation.identities import WORLD
from federation.policy.tables import Direction, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.drivers import Address, DesiredPolicy, DesiredRoutes, DesiredTunnels, ObjectReport

Part = DesiredPolicy | DesiredTunnels | DesiredRoutes


class FakeDriver:
    """Driver of any part: remembers what it took. It is made in a running loop; `begun` and `taken` are set there in every round."""

    def __init__(self) -> None:
        self.value: Part | None = None
        self.rounds = 0
        """Calls, failing ones too."""
        self.failure: str | Exception = ""
        """Makes the next rounds fail as a whole: a DriverError of that text, or that very exception."""
        self.reports: Sequence[ObjectReport] = ()
        """What the next rounds say of single objects."""
        self.unsettled = 0
        """How many more times `settle` says no."""
        self.gate = threading.Event()
        """Rounds wait here while it is clear: a kernel that is slow."""
        self.gate.set()
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.taken = asyncio.Event()

    def converge(self, desired: Part) -> tuple[ObjectReport, ...]:
        """Take the value. Raises on demand."""
        self.rounds += 1
        self.loop.call_soon_threadsafe(self.begun.set)
        if not self.gate.wait(60):
            raise DriverError("the fake's gate was never opened")
        if self.failure:
            raise self.failure if isinstance(self.failure, Exception) else DriverError(self.failure)
        self.value = desired
        self.loop.call_soon_threadsafe(self.taken.set)
        return tuple(self.reports)

    def settle(self) -> bool:
        """Whether what was made works: counts `unsettled` down."""
        self.unsettled = max(self.unsettled - 1, -1)
        return self.unsettled < 0

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Forget it."""
        self.value = None
        return ()


def verdict(policy: DesiredPolicy, source: Address, destination: Address, packet: Packet) -> Verdict:
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
