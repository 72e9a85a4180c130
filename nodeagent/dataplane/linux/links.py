"""What an interface is."""

import socket

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError


def index_of(interface: str) -> int | None:
    """The index of an interface of this namespace, or None."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def leads_elsewhere(index: int) -> bool:
    """Whether an interface is a veth whose other end is in another namespace: only such a one can be handed packets past the stack
    (bpf_redirect_peer, Linux 5.10). One that is gone is not."""
    with IPRoute() as netlink:
        try:
            (link,) = netlink.get_links(index)
        except (NetlinkError, ValueError):
            return False
    info = link.get_attr("IFLA_LINKINFO")
    is_veth = info is not None and info.get_attr("IFLA_INFO_KIND") == "veth"
    return is_veth and link.get_attr("IFLA_LINK_NETNSID") is not None
