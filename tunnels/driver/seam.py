"""What a driver of WireGuard does; its contract is `tests/tunnels/driver/test_contract.py`."""

from collections.abc import Sequence
from typing import Protocol

from tunnels.driver.plan import Observed, TunnelSettings
from tunnels.peers import TunnelPeer


class TunnelDriver(Protocol):
    """One WireGuard interface of this network namespace. Blocking; called from one thread only."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    def converge(self, settings: TunnelSettings) -> bool:
        """Make the interface so, adopting what stands; whether anything was written. Raises DriverError or PlatformLack."""
        ...

    def observed(self) -> Observed | None:
        """What stands; None when there is no interface. Raises DriverError."""
        ...

    def begin_anew(self, peers: Sequence[TunnelPeer]) -> None:
        """Send the first handshake of these peers once more, now (see `plan.begin_anew`). Raises DriverError."""
        ...

    def is_alive(self) -> bool:
        """Whether the interface stands and something moves its packets. Cheap: asked every second."""
        ...

    def remove(self) -> None:
        """End the interface; nothing when there is none."""
        ...
