"""Endpoints that no program guards are closed off by routing rules: fail closed where tc or eBPF cannot be had.

Rules for each: what its interface sends, of both families, and what is sent to its addresses, goes nowhere. This node's own addresses are looked up before
any rule, so that an endpoint may still reach the node itself. Ours are known by priority and protocol.
"""

import errno
from collections.abc import Iterable, Mapping
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError, PlatformLack
from nodeagent.drivers import Address

PROTOCOL = 202
"""Owner mark, as on routes."""
PRIORITY = 0xCA5
FAMILIES = {4: 2, 6: 10}
"""AF_INET and AF_INET6, by the version of IP."""
BLACKHOLE = 6  # FR_ACT_BLACKHOLE
Rule = tuple[int, str, str]
"""(version of IP, interface it comes in by, address it goes to): one of the last two is empty."""


def close_off(endpoints: Mapping[str, Iterable[Address]]) -> tuple[list[Rule], list[Rule]]:
    """Close exactly these off, by interface; every other one that was is opened: the rules that were added for it, and removed. Raises
    DriverError or PlatformLack."""
    wanted: set[Rule] = {(version, interface, "") for interface in endpoints for version in FAMILIES}
    wanted |= {(a.version, "", str(a)) for addresses in endpoints.values() for a in addresses}
    with IPRoute() as netlink:
        own = _own(netlink)
        added, removed = sorted(wanted - own), sorted(own - wanted)
        for verb, rules in (("add", added), ("del", removed)):
            for rule in rules:
                _change(netlink, verb, rule)
    return added, removed


def closed_off() -> set[Rule]:
    """The rules of ours that stand in this namespace."""
    with IPRoute() as netlink:
        return _own(netlink)


def _own(netlink: Any) -> set[Rule]:
    return {
        (version, rule.get_attr("FRA_IIFNAME") or "", rule.get_attr("FRA_DST") or "")
        for version, family in FAMILIES.items()
        for rule in netlink.get_rules(family=family)
        if rule.get_attr("FRA_PRIORITY") == PRIORITY and rule.get_attr("FRA_PROTOCOL") == PROTOCOL
    }


def _change(netlink: Any, verb: str, rule: Rule) -> None:
    version, interface, address = rule
    length = 32 if version == 4 else 128
    match_on = {"iifname": interface} if interface else {"dst": address, "dst_len": length}
    try:
        netlink.rule(
            verb,
            family=FAMILIES[version],
            priority=PRIORITY,
            protocol=PROTOCOL,
            action=BLACKHOLE,
            **match_on,
        )
    except NetlinkError as error:
        what = f"close off {interface or address}"
        if error.code == errno.EPERM:
            raise PlatformLack(
                f"{what}: no rights", hint="run as root, or with CAP_NET_ADMIN and CAP_BPF"
            ) from error
        if version == 6 and error.code in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            return  # no IPv6 here, nothing to close
        if error.code == errno.EOPNOTSUPP:
            raise PlatformLack(
                f"{what}: no routing rules", hint="enable CONFIG_IP_MULTIPLE_TABLES"
            ) from error
        if error.code not in (errno.EEXIST, errno.ENOENT):
            raise DriverError(f"{what}: {error}") from error
