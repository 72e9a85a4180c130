"""What an interface is."""

import socket
from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.drivers import Address

IFF_UP, IFF_LOOPBACK = 1, 8
ETHERNET = 1
"""ARPHRD_ETHER (linux/if_arp.h)."""
PARTS = ("bridge", "bond", "team")
"""Whose ports' packets they have too."""


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
    return _kind(link, "KIND") == "veth" and link.get_attr("IFLA_LINK_NETNSID") is not None


def interfaces() -> list[Interface]:
    """All of this namespace. Raises DriverError."""
    addresses = defaultdict[int, set[Address]](set)
    try:
        with IPRoute() as netlink:
            for message in netlink.get_addr():
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                if text:
                    addresses[message["index"]].add(ip_address(text))
            messages = list(netlink.get_links())
    except NetlinkError as error:
        raise DriverError(f"look at interfaces: {error}") from error
    tagged = {link.get_attr("IFLA_LINK") for link in messages if _kind(link, "KIND") == "vlan"}
    return [
        replace(_interface(link, frozenset(addresses[link["index"]])), has_tags=link["index"] in tagged)
        for link in messages
    ]


def _interface(link: Any, addresses: frozenset[Address]) -> Interface:
    return Interface(
        index=link["index"],
        name=link.get_attr("IFLA_IFNAME"),
        addresses=addresses,
        is_up=bool(link["flags"] & IFF_UP),
        is_loopback=bool(link["flags"] & IFF_LOOPBACK),
        is_part=_kind(link, "SLAVE_KIND") in PARTS,
        is_bare=link["ifi_type"] != ETHERNET and not link["flags"] & IFF_LOOPBACK,
    )


def _kind(link: Any, which: str) -> str | None:
    """What an interface is (KIND), or is a part of (SLAVE_KIND)."""
    info = link.get_attr("IFLA_LINKINFO")
    found: str | None = info.get_attr(f"IFLA_INFO_{which}") if info is not None else None
    return found
