"""wireguard-go under supervision: it dies, it comes back, it leaves no zombie."""

import asyncio
import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from federation.errors import PlatformLack
from nodeagent.drivers import DesiredTunnels
from nodeagent.tunnel_part import TunnelPart
from tunnels.driver import kernel, userspace
from tunnels.driver.detect import DetectedTunnel, open_driver
from tunnels.driver.userspace import UserspaceTunnel
from tunnels.keys import load_or_make
from tunnels.peers import TunnelPeer

Within = Callable[[Callable[[], Any]], Any]


def wanted(tmp_path: Path) -> DesiredTunnels:
    peer = TunnelPeer(
        name="aws1/n1", public_key=load_or_make(tmp_path / "peer").public, endpoint=(IPv4Address("192.0.2.1"), 51820),
        allowed_ips=(IPv4Network("10.20.1.0/24"),),
    )  # fmt: skip
    return DesiredTunnels(address=IPv4Interface("100.64.0.1/32"), listen_port=51997, peers=(peer,))


def holder_of(interface: str) -> int:
    """The process that has the interface's name among its words."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[:3] == [b"wireguard-go", b"-f", interface.encode()]:
                return int(pid)
    return 0


def test_a_killed_process_is_seen_restarted_and_reaped(in_netns: Within, tmp_path: Path) -> None:
    if not userspace.is_available():
        pytest.skip("wireguard-go and /dev/net/tun are needed")
    interface = f"cwt{uuid.uuid4().hex[:8]}"
    tunnel = UserspaceTunnel(interface, load_or_make(tmp_path / "wireguard.key"), tmp_path / "wireguard.log")
    part, desired = TunnelPart(tunnel), wanted(tmp_path)
    in_netns(lambda: part.converge(desired))
    first = holder_of(interface)
    try:
        os.kill(first, 9)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        part.tunnel = _Within(tunnel, in_netns)  # type: ignore[assignment]
        asyncio.run(until_noticed(part))
        in_netns(lambda: TunnelPart(tunnel).converge(desired))
        second = holder_of(interface)
        assert second not in (0, first)
        assert not Path(f"/proc/{first}").exists(), "the dead process is still a zombie"
        assert in_netns(tunnel.observed).listen_port == 51997
    finally:
        in_netns(tunnel.remove)
    assert holder_of(interface) == 0


def test_a_first_handshake_that_was_lost_is_made_good_before_wireguard_would(
    in_two_netns: tuple[Within, Within], tmp_path: Path
) -> None:
    """One begins before the other is there, and the other does not know where it is: only the first can repeat."""
    if not userspace.is_available():
        pytest.skip("wireguard-go and /dev/net/tun are needed")
    keys = [load_or_make(tmp_path / name) for name in ("one", "other")]
    tunnels = [
        UserspaceTunnel(f"cwt{uuid.uuid4().hex[:8]}", key, tmp_path / f"{n}.log")
        for n, key in enumerate(keys)
    ]
    parts = [TunnelPart(tunnel) for tunnel in tunnels]
    places = (None, (IPv4Address("192.0.2.2"), 51997))  # of the first, of the second
    try:
        for n, in_netns in enumerate(in_two_netns):
            other = 1 - n
            peer = TunnelPeer(
                name=f"aws1/n{other}", public_key=keys[other].public, endpoint=places[other],
                allowed_ips=(IPv4Network(f"10.20.{other}.0/24"),),
            )  # fmt: skip
            desired = DesiredTunnels(
                address=IPv4Interface(f"100.64.0.{n + 1}/32"), listen_port=51997, peers=(peer,)
            )
            in_netns(partial(parts[n].converge, desired))
        pause = threading.Event()
        while not in_two_netns[0](parts[0].settle):  # its patience ends
            pause.wait(0.02)
        for n, in_netns in enumerate(in_two_netns):
            assert in_netns(tunnels[n].observed).handshakes[keys[1 - n].public] > 0
    finally:
        for tunnel, in_netns in zip(tunnels, in_two_netns, strict=True):
            in_netns(tunnel.remove)


async def until_noticed(part: TunnelPart) -> None:
    looked = asyncio.Event()

    async def look_at_once(_seconds: float) -> None:
        await asyncio.to_thread(lambda: None)

    async with asyncio.timeout(10):
        watching = asyncio.ensure_future(part.watch(looked.set, look_at_once))
        await looked.wait()
        watching.cancel()


class _Within:
    """The driver, asked in its namespace."""

    def __init__(self, tunnel: UserspaceTunnel, in_netns: Within) -> None:
        self.tunnel, self.in_netns = tunnel, in_netns

    def is_alive(self) -> bool:
        return bool(self.in_netns(self.tunnel.is_alive))


def test_a_machine_without_any_wireguard_is_told_so_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_netns: Within
) -> None:
    keys = load_or_make(tmp_path / "wireguard.key")
    in_netns(lambda: None)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))  # no wireguard-go is found here
    if in_netns(kernel.is_available):
        pytest.skip("this kernel has WireGuard")
    with pytest.raises(PlatformLack) as caught:
        in_netns(lambda: open_driver("cwtnone", keys, tmp_path / "log"))
    assert "policy inside the cluster is enforced" in caught.value.hint
    detected = DetectedTunnel("cwtnone", keys, tmp_path / "log")
    part = TunnelPart(detected)
    for _ in range(2):
        with pytest.raises(PlatformLack):
            in_netns(lambda: part.converge(wanted(tmp_path)))
    assert part.name == "not needed yet"
    monkeypatch.setenv("PATH", path)
