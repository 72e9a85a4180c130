"""The tunnel driver as the reconciler sees it."""

from nodeagent.drivers import DesiredTunnels, ObjectReport
from tunnels.driver.userspace import UserspaceTunnel


class TunnelPart:
    """Driver[DesiredTunnels] on a WireGuard interface; without peers there is none."""

    def __init__(self, tunnel: UserspaceTunnel) -> None:
        self.tunnel = tunnel

    def converge(self, desired: DesiredTunnels) -> tuple[ObjectReport, ...]:
        """Make the interface so. Raises DriverError or PlatformLack."""
        if desired.address is None or not desired.peers:
            self.tunnel.remove()
        else:
            self.tunnel.converge(desired.address, desired.listen_port, desired.peers, desired.mtu)
        return ()

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Remove the interface."""
        self.tunnel.remove()
        return ()
