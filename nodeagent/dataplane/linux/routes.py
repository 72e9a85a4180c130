"""The route driver: linked clusters' prefixes into the tunnel. Ours are known by their route protocol."""

from ipaddress import IPv4Network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nodeagent.dataplane.linux.plan import plan
from nodeagent.drivers import DesiredRoutes, ObjectReport

PROTOCOL = 202
"""Owner mark (rtnetlink's rtm_protocol); what lacks it is never touched."""
MAIN_TABLE = 254
LINK_SCOPE, ANY_SCOPE = 253, 255
"""rtm_scope: ours are on-link; a deletion without RT_SCOPE_NOWHERE would mean universe, and find none of them."""


class RouteDriver:
    """Driver[DesiredRoutes] of the main table of this network namespace."""

    def __init__(self, interface: str) -> None:
        self.interface = interface

    def converge(self, desired: DesiredRoutes) -> tuple[ObjectReport, ...]:
        """Add and remove; one report per destination that could not be had."""
        reports: list[ObjectReport] = []
        with IPRoute() as netlink:
            found = netlink.link_lookup(ifname=self.interface)
            own, foreign = _standing(netlink)
            add, remove, occupied = plan(own, foreign, desired.via_tunnel)
            for net in remove:
                reports += _try(netlink, "del", net, proto=PROTOCOL, scope=ANY_SCOPE)
            for net in add:
                if found:
                    reports += _try(netlink, "add", net, oif=found[0], proto=PROTOCOL, scope=LINK_SCOPE)
                else:
                    reports.append(_fault(net, f"the tunnel interface {self.interface} does not exist"))
            reports += [
                _fault(net, "a foreign route holds this destination; it was left alone") for net in occupied
            ]
        return tuple(reports)

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Remove every route of ours."""
        return self.converge(DesiredRoutes())


def _standing(netlink: Any) -> tuple[list[IPv4Network], list[IPv4Network]]:
    own: list[IPv4Network] = []
    foreign: list[IPv4Network] = []
    for route in netlink.get_routes(family=2, table=MAIN_TABLE):
        destination = route.get_attr("RTA_DST")
        if destination is not None:
            net = IPv4Network(f"{destination}/{route['dst_len']}")
            (own if route["proto"] == PROTOCOL else foreign).append(net)
    return own, foreign


def _try(netlink: Any, verb: str, net: IPv4Network, **how: Any) -> list[ObjectReport]:
    try:
        netlink.route(verb, dst=str(net), **how)
    except NetlinkError as error:
        return [_fault(net, f"{verb}: {error}")]
    return []


def _fault(net: IPv4Network, message: str) -> ObjectReport:
    return ObjectReport(key=f"route {net}", is_ok=False, reason="route", message=message)
