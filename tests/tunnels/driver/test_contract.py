"""What every driver of WireGuard does: the fake always, the real ones where this machine has them (as root)."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tunnels.driver import kernel, userspace
from tunnels.driver.fake import FakeTunnel
from tunnels.driver.kernel import KernelTunnel
from tunnels.driver.plan import Observed, TunnelSettings
from tunnels.driver.seam import TunnelDriver
from tunnels.driver.userspace import UserspaceTunnel
from tunnels.keys import KeyPair, load_or_make
from tunnels.peers import TunnelPeer

NETS = [IPv4Network(f"10.20.{n}.0/24") for n in range(4)]


class Bench:
    """A driver, and how to call it where it lives."""

    def __init__(self, driver: TunnelDriver, keys: KeyPair, call: Callable[[Callable[[], Any]], Any]) -> None:
        self.driver, self.keys, self.call = driver, keys, call

    def converge(self, settings: TunnelSettings) -> bool:
        return bool(self.call(lambda: self.driver.converge(settings)))

    def observed(self) -> Observed:
        found: Observed | None = self.call(self.driver.observed)
        assert found is not None
        return found


@pytest.fixture(params=["fake", "user space", "kernel"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    keys = load_or_make(tmp_path / "wireguard.key")
    if request.param == "fake":
        yield Bench(FakeTunnel(keys), keys, lambda call: call())
        return
    in_netns = request.getfixturevalue("in_netns")
    interface = f"cwt{uuid.uuid4().hex[:8]}"
    driver: TunnelDriver
    if request.param == "kernel":
        if not in_netns(kernel.is_available):
            pytest.skip("this kernel has no WireGuard")
        driver = KernelTunnel(interface, keys)
    else:
        if not userspace.is_available():
            pytest.skip("wireguard-go and /dev/net/tun are needed")
        driver = UserspaceTunnel(interface, keys, tmp_path / "wireguard.log")
    try:
        yield Bench(driver, keys, in_netns)
    finally:
        in_netns(driver.remove)


@pytest.fixture
def peers(tmp_path: Path) -> list[TunnelPeer]:
    return [
        TunnelPeer(
            name=f"aws1/n{n}", public_key=load_or_make(tmp_path / f"peer{n}").public,
            endpoint=(IPv4Address(f"192.0.2.{n + 1}"), 51820), allowed_ips=(NETS[n],),
        )
        for n in range(3)
    ]  # fmt: skip


def settings(*peers: TunnelPeer, port: int = 51999) -> TunnelSettings:
    return TunnelSettings(address=IPv4Interface("100.64.0.1/32"), listen_port=port, peers=peers, mtu=1400)


def test_it_becomes_what_is_wanted_and_then_there_is_nothing_left_to_do(
    bench: Bench, peers: list[TunnelPeer]
) -> None:
    assert bench.converge(settings(*peers))
    found = bench.observed()
    assert (found.public_key, found.listen_port) == (bench.keys.public, 51999)
    assert found.peers == {peer.public_key: frozenset(peer.allowed_ips) for peer in peers}
    assert found.endpoints == {
        peer.public_key: f"{peer.endpoint[0]}:{peer.endpoint[1]}" for peer in peers if peer.endpoint
    }
    assert bench.call(bench.driver.is_alive)
    assert not bench.converge(settings(*peers))


def test_peers_come_and_go_and_the_others_stay(bench: Bench, peers: list[TunnelPeer]) -> None:
    bench.converge(settings(peers[0], peers[1]))
    assert bench.converge(settings(peers[1], peers[2]))
    assert set(bench.observed().peers) == {peers[1].public_key, peers[2].public_key}


def test_a_standing_peers_endpoint_is_kept_though_another_is_told(
    bench: Bench, peers: list[TunnelPeer]
) -> None:
    bench.converge(settings(peers[0]))
    told = replace(peers[0], endpoint=(IPv4Address("192.0.2.99"), 1), allowed_ips=(NETS[0], NETS[3]))
    assert bench.converge(settings(told))
    found = bench.observed()
    assert found.endpoints[peers[0].public_key] == "192.0.2.1:51820"
    assert found.peers[peers[0].public_key] == {NETS[0], NETS[3]}


def test_a_prefix_goes_over_from_one_peer_to_another(bench: Bench, peers: list[TunnelPeer]) -> None:
    bench.converge(settings(peers[0], peers[1]))
    swapped = (replace(peers[0], allowed_ips=(NETS[1],)), replace(peers[1], allowed_ips=(NETS[0],)))
    assert bench.converge(settings(*swapped))
    assert bench.observed().peers == {peer.public_key: frozenset(peer.allowed_ips) for peer in swapped}
    assert not bench.converge(settings(*swapped))


def test_the_listen_port_changes(bench: Bench, peers: list[TunnelPeer]) -> None:
    bench.converge(settings(peers[0]))
    assert bench.converge(settings(peers[0], port=51998))
    assert bench.observed().listen_port == 51998


def test_what_stands_is_adopted_by_another_driver_of_the_same_node(
    bench: Bench, peers: list[TunnelPeer]
) -> None:
    bench.converge(settings(*peers))
    if isinstance(bench.driver, UserspaceTunnel):
        again: TunnelDriver = UserspaceTunnel(bench.driver.interface, bench.keys, bench.driver.log)
    elif isinstance(bench.driver, KernelTunnel):
        again = KernelTunnel(bench.driver.interface, bench.keys)
    else:
        again = bench.driver
    assert bench.call(lambda: again.converge(settings(*peers))) is False


def test_another_private_key_is_put_right(bench: Bench, peers: list[TunnelPeer], tmp_path: Path) -> None:
    bench.converge(settings(peers[0]))
    new = load_or_make(tmp_path / "new.key")
    bench.driver.keys = new  # type: ignore[attr-defined]  # every driver has its node's keys
    assert bench.converge(settings(peers[0]))
    assert bench.observed().public_key == new.public


def test_a_handshake_that_is_begun_anew_changes_nothing_else(bench: Bench, peers: list[TunnelPeer]) -> None:
    bench.converge(settings(*peers))
    before = bench.observed()
    bench.call(lambda: bench.driver.begin_anew(peers[1:]))
    assert bench.observed() == before
    assert not bench.converge(settings(*peers))


def test_what_is_not_a_peer_or_has_no_place_does_not_become_one_by_beginning_anew(
    bench: Bench, peers: list[TunnelPeer]
) -> None:
    bench.converge(settings(replace(peers[0], endpoint=None)))
    before = bench.observed()
    bench.call(lambda: bench.driver.begin_anew([replace(peers[0], endpoint=None), peers[1]]))
    assert bench.observed() == before


def test_it_is_removed_and_removing_nothing_is_nothing(bench: Bench, peers: list[TunnelPeer]) -> None:
    bench.converge(settings(peers[0]))
    bench.call(bench.driver.remove)
    assert not bench.call(bench.driver.is_alive)
    assert bench.call(bench.driver.observed) is None
    bench.call(bench.driver.remove)
