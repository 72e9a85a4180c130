"""How an agent sees to it that new tunnels work: first handshakes are waited for, and begun anew when they went wrong."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from nodeagent.drivers import DesiredTunnels
from nodeagent.tunnel_part import ANEW_SECONDS, PATIENCE_SECONDS, TunnelPart
from tunnels.driver.fake import FakeTunnel
from tunnels.keys import load_or_make
from tunnels.peers import TunnelPeer

SMALLEST, LARGEST = "+" * 43 + "=", "z" * 43 + "="
"""Keys that stand before, and after, any real one of base64's letters."""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.tunnel = FakeTunnel(load_or_make(folder / "key"))
        self.part = TunnelPart(self.tunnel, lambda: self.now)

    def want(self, *keys: str) -> None:
        peers = tuple(
            TunnelPeer(
                name=f"aws1/n{n}",
                public_key=key,
                endpoint=(IPv4Address("192.0.2.1"), 51820),
                allowed_ips=(IPv4Network(f"10.20.{n}.0/24"),),
            )
            for n, key in enumerate(keys)
        )
        self.part.converge(DesiredTunnels(address=IPv4Interface("100.64.0.1/32"), peers=peers))
        self.tunnel.plans.clear()

    def settle_at(self, now: float) -> bool:
        self.now = now
        return self.part.settle()

    def begun_anew(self) -> list[str]:
        return [key for plan in self.tunnel.plans for key in plan.removals]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_peers_there_is_nothing_to_wait_for(bench: Bench) -> None:
    assert bench.part.settle()
    bench.want()
    assert bench.part.settle()


@pytest.mark.parametrize(("key", "seconds"), [(LARGEST, ANEW_SECONDS[0]), (SMALLEST, ANEW_SECONDS[1])])
def test_a_lost_handshake_is_begun_anew_once_and_by_the_two_ends_at_different_times(
    bench: Bench, key: str, seconds: float
) -> None:
    bench.want(key)
    assert not bench.settle_at(0)
    assert not bench.settle_at(seconds - 0.01)
    assert bench.begun_anew() == []
    assert not bench.settle_at(seconds + 0.01)
    assert not bench.settle_at(seconds + 0.02)
    assert bench.begun_anew() == [key]


def test_who_answers_is_not_waited_for_any_more(bench: Bench) -> None:
    bench.want(LARGEST)
    bench.tunnel.answering = {LARGEST}
    assert not bench.settle_at(0)
    assert not bench.settle_at(ANEW_SECONDS[0] + 0.01)
    assert bench.settle_at(ANEW_SECONDS[0] + 0.02)
    assert bench.settle_at(99)
    assert bench.begun_anew() == [LARGEST]


def test_who_is_down_is_waited_for_once_not_at_every_change_of_the_others(bench: Bench) -> None:
    bench.want(LARGEST)
    assert not bench.settle_at(0)
    assert bench.settle_at(PATIENCE_SECONDS + 0.01)
    bench.tunnel.answering = {SMALLEST}
    bench.want(LARGEST, SMALLEST)
    assert not bench.settle_at(10)
    assert not bench.settle_at(10 + ANEW_SECONDS[1] + 0.01)
    assert bench.settle_at(10 + ANEW_SECONDS[1] + 0.02)
    assert bench.begun_anew() == [SMALLEST]


def test_a_peer_that_left_and_came_back_is_new(bench: Bench) -> None:
    bench.want(LARGEST)
    bench.settle_at(0)
    assert bench.settle_at(PATIENCE_SECONDS + 0.01)
    bench.want()
    assert bench.settle_at(10)
    bench.want(LARGEST)
    assert not bench.settle_at(11)


def test_a_driver_that_fails_or_is_gone_ends_the_waiting(bench: Bench) -> None:
    bench.want(LARGEST)
    assert not bench.settle_at(0)
    bench.tunnel.failure = "no socket"
    assert bench.settle_at(ANEW_SECONDS[0] + 0.01)
    bench.tunnel.remove()
    assert bench.settle_at(ANEW_SECONDS[0] + 0.02)
