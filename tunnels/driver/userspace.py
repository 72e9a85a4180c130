"""WireGuard in user space: `wireguard-go -f` on a TUN device, started once, adopted ever after.

It outlives the agent (a session of its own), so a killed agent cuts no tunnel; the next one finds it by its socket.
"""

import errno
import shutil
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError, PlatformLack
from tunnels.driver import uapi
from tunnels.keys import KeyPair
from tunnels.peers import TunnelPeer

SOCKETS = Path("/var/run/wireguard")
"""Where wireguard-go puts its sockets; shared by network namespaces, so interface names must be unique on a machine."""
START_SECONDS = 5.0


class UserspaceTunnel:
    """One WireGuard interface of this network namespace. Blocking."""

    def __init__(self, interface: str, keys: KeyPair, log: Path) -> None:
        self.interface = interface
        self.keys = keys
        self.log = log
        self.pause: Callable[[float], None] = time.sleep  # noqa: TID251 - waits for a process, in the drivers' thread

    @property
    def socket(self) -> Path:
        """Its configuration socket."""
        return SOCKETS / f"{self.interface}.sock"

    def converge(
        self, address: IPv4Interface, listen_port: int, peers: tuple[TunnelPeer, ...], mtu: int
    ) -> bool:
        """Make the interface so; whether anything was written. Raises DriverError or PlatformLack."""
        if self._index() is None:
            self._start()
        standing = uapi.observed(uapi.exchange(self.socket, "get=1\n\n"))
        lines = uapi.plan(standing, peers)
        if standing.listen_port != listen_port:
            lines = [f"private_key={self.keys.private.hex()}", f"listen_port={listen_port}", *lines]
        if lines:
            uapi.exchange(self.socket, "\n".join(["set=1", *lines]) + "\n\n")
        self._address(address, mtu)
        return bool(lines)

    def remove(self) -> None:
        """End the interface, and with it the process."""
        index = self._index()
        if index is not None:
            with IPRoute() as netlink:
                netlink.link("del", index=index)

    def _index(self) -> int | None:
        with IPRoute() as netlink:
            found = netlink.link_lookup(ifname=self.interface)
        return int(found[0]) if found else None

    def _start(self) -> None:
        if not shutil.which("wireguard-go") or not Path("/dev/net/tun").exists():
            hint = "apt-get install wireguard-go, and let this machine have /dev/net/tun; policy is enforced meanwhile"
            raise PlatformLack("neither WireGuard in the kernel nor wireguard-go on a TUN device", hint=hint)
        self.socket.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # it outlives us on purpose
                ["wireguard-go", "-f", self.interface], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LOG_LEVEL": "error", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self.socket.exists() or self._index() is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise DriverError(
                    f"wireguard-go did not start: see {self.log.name} in the agent's state directory"
                )
            self.pause(0.02)

    def _address(self, address: IPv4Interface, mtu: int) -> None:
        index = self._index()
        with IPRoute() as netlink:
            netlink.link("set", index=index, mtu=mtu, state="up")
            try:
                netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise DriverError(f"address {address} on {self.interface}: {error}") from error
