"""Which WireGuard this machine has: the kernel's if it is there, else one in user space. Asked again until there is one."""

from collections.abc import Sequence
from pathlib import Path

from federation.errors import PlatformLack
from tunnels.driver import kernel, userspace
from tunnels.driver.kernel import KernelTunnel
from tunnels.driver.plan import Observed, TunnelSettings
from tunnels.driver.seam import TunnelDriver
from tunnels.driver.userspace import UserspaceTunnel
from tunnels.keys import KeyPair
from tunnels.peers import TunnelPeer


def open_driver(interface: str, keys: KeyPair, log: Path) -> TunnelDriver:
    """The best driver of this machine. Raises PlatformLack when it has none."""
    if kernel.is_available():
        return KernelTunnel(interface, keys)
    if userspace.is_available():
        return UserspaceTunnel(interface, keys, log)
    hint = (
        "a kernel with WireGuard (5.6 or newer), or: apt-get install wireguard-go, and /dev/net/tun; "
        "policy inside the cluster is enforced meanwhile"
    )
    raise PlatformLack(
        "no links: neither WireGuard in the kernel nor wireguard-go on a TUN device", hint=hint
    )


class DetectedTunnel:
    """TunnelDriver that finds its driver at the first need, and looks again as long as there is none: an agent must start, and
    police its node, on a machine without WireGuard."""

    def __init__(self, interface: str, keys: KeyPair, log: Path) -> None:
        self.interface, self.keys, self.log = interface, keys, log
        self._driver: TunnelDriver | None = None

    @property
    def name(self) -> str:
        """The found driver's."""
        return self._driver.name if self._driver else "not needed yet"

    def converge(self, settings: TunnelSettings) -> bool:
        """Make the interface so. Raises DriverError or PlatformLack."""
        if self._driver is None:
            self._driver = open_driver(self.interface, self.keys, self.log)
        return self._driver.converge(settings)

    def observed(self) -> Observed | None:
        """What stands. Raises DriverError."""
        return self._driver.observed() if self._driver else None

    def begin_anew(self, peers: Sequence[TunnelPeer]) -> None:
        """Send their first handshake once more. Raises DriverError."""
        if self._driver is not None:
            self._driver.begin_anew(peers)

    def is_alive(self) -> bool:
        """Whether the interface stands."""
        return self._driver is not None and self._driver.is_alive()

    def remove(self) -> None:
        """End the interface, whoever made it."""
        if self._driver is not None:
            self._driver.remove()
        else:
            KernelTunnel(self.interface, self.keys).remove()
