"""Routes in a real namespace: ours come and go, others' are never touched."""

import json
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.dataplane.linux.plan import plan
from nodeagent.dataplane.linux.routes import PROTOCOL, RouteDriver
from nodeagent.drivers import DesiredRoutes

InNetns = Callable[[Callable[[], Any]], Any]
NETS = [IPv4Network(f"10.{n}.0.0/16") for n in range(1, 6)]
nets = st.sets(st.sampled_from(NETS))


@given(nets, nets, nets)
def test_applying_a_plan_leaves_nothing_to_do_and_spares_what_is_not_ours(
    own: set[IPv4Network], foreign: set[IPv4Network], wanted: set[IPv4Network]
) -> None:
    foreign -= own
    add, remove, occupied = plan(own, foreign, wanted)
    assert not set(remove) & foreign
    assert set(occupied) == wanted & foreign
    after = own - set(remove) | set(add)
    assert plan(after, foreign, wanted)[:2] == ([], [])
    assert after | foreign >= wanted


@pytest.fixture
def tunnel(in_netns: InNetns) -> RouteDriver:
    """A driver in a namespace whose interface stands."""
    run(in_netns, "link", "add", "cwt0", "type", "veth", "peer", "name", "cwt1")
    for name in ("cwt0", "cwt1"):
        run(in_netns, "link", "set", name, "up")
    return RouteDriver("cwt0")


def run(in_netns: InNetns, *words: str) -> str:
    return str(
        in_netns(lambda: subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout)
    )


def standing(in_netns: InNetns, protocol: int = PROTOCOL) -> set[str]:
    listed = json.loads(run(in_netns, "-j", "route", "show", "proto", str(protocol)) or "[]")
    return {route["dst"] for route in listed}


def converge(in_netns: InNetns, driver: RouteDriver, *wanted: IPv4Network) -> list[str]:
    reports = in_netns(lambda: driver.converge(DesiredRoutes(via_tunnel=wanted)))
    return [f"{report.key}: {report.message}" for report in reports]


def test_routes_become_what_is_wanted_whatever_stood(in_netns: InNetns, tunnel: RouteDriver) -> None:
    for wanted in (NETS[:2], NETS[1:3], NETS[1:3], []):
        assert converge(in_netns, tunnel, *wanted) == []
        assert standing(in_netns) == {str(net) for net in wanted}


def test_a_route_taken_away_by_hand_comes_back(in_netns: InNetns, tunnel: RouteDriver) -> None:
    converge(in_netns, tunnel, *NETS[:2])
    run(in_netns, "route", "del", str(NETS[0]))
    converge(in_netns, tunnel, *NETS[:2])
    assert standing(in_netns) == {str(net) for net in NETS[:2]}


def test_a_foreign_route_is_left_alone_and_said(in_netns: InNetns, tunnel: RouteDriver) -> None:
    run(in_netns, "route", "add", str(NETS[0]), "dev", "cwt1", "proto", "4")
    faults = converge(in_netns, tunnel, *NETS[:2])
    assert faults == [f"route {NETS[0]}: a foreign route holds this destination; it was left alone"]
    in_netns(tunnel.withdraw)
    assert standing(in_netns, 4) == {str(NETS[0])}
    assert standing(in_netns) == set()


def test_without_the_tunnels_interface_each_route_is_a_fault_and_those_not_wanted_still_go(
    in_netns: InNetns, tunnel: RouteDriver
) -> None:
    converge(in_netns, tunnel, NETS[0])
    away = RouteDriver("cwtgone")
    assert converge(in_netns, away, NETS[1]) == [
        f"route {NETS[1]}: the tunnel interface cwtgone does not exist"
    ]
    assert standing(in_netns) == set()
