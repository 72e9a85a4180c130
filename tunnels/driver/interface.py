"""The interface itself, whatever moves its packets: found, addressed, removed, by netlink."""

import errno

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError
from tunnels.driver.plan import TunnelSettings


def index_of(interface: str) -> int | None:
    """Its index; None when there is none."""
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=interface)
    return int(found[0]) if found else None


def make(interface: str, kind: str) -> None:
    """Create one of a kind. Raises NetlinkError."""
    with IPRoute() as netlink:
        netlink.link("add", ifname=interface, kind=kind)


def bring_up(interface: str, settings: TunnelSettings) -> None:
    """Give it its MTU and address, and set it up. Raises DriverError."""
    address = settings.address
    try:
        with IPRoute() as netlink:
            index = netlink.link_lookup(ifname=interface)[0]
            netlink.link("set", index=index, mtu=settings.mtu, state="up")
            netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    except IndexError:
        raise DriverError(f"interface {interface} vanished") from None
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise DriverError(f"address {address} on {interface}: {error}") from error


def remove(interface: str) -> None:
    """Delete it; nothing when there is none."""
    index = index_of(interface)
    if index is None:
        return
    try:
        with IPRoute() as netlink:
            netlink.link("del", index=index)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise DriverError(f"interface {interface} was not removed: {error}") from error
