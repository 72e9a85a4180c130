"""WireGuard in user space: `wireguard-go -f` on a TUN device, started once, adopted ever after.

It outlives the agent (a session of its own), so a killed agent cuts no tunnel; the next one finds it by its socket.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from federation.errors import DriverError, PlatformLack
from tunnels.driver import interface as link
from tunnels.driver import uapi
from tunnels.driver.plan import Observed, TunnelSettings, begin_anew, plan
from tunnels.keys import KeyPair
from tunnels.peers import TunnelPeer

SOCKETS = Path("/var/run/wireguard")
"""Where wireguard-go puts its sockets; shared by network namespaces, so interface names must be unique on a machine."""
START_SECONDS = 5.0
PROGRAM = "wireguard-go"


def is_available() -> bool:
    """Whether this machine has the program and TUN devices."""
    return bool(shutil.which(PROGRAM)) and Path("/dev/net/tun").exists()


class UserspaceTunnel:
    """TunnelDriver by a process of our own."""

    name = PROGRAM

    def __init__(self, interface: str, keys: KeyPair, log: Path) -> None:
        self.interface = interface
        self.keys = keys
        self.log = log
        self.pause: Callable[[float], None] = time.sleep  # noqa: TID251 - waits for a process, in the drivers' thread
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Its configuration socket."""
        return SOCKETS / f"{self.interface}.sock"

    def converge(self, settings: TunnelSettings) -> bool:
        """Make the interface so. Raises DriverError or PlatformLack."""
        if not self.is_alive():
            self._start()
        standing = uapi.observed(uapi.exchange(self.socket, "get=1\n\n"))
        change = plan(standing, self.keys.public, settings.listen_port, settings.peers)
        if not change.is_empty:
            uapi.exchange(self.socket, uapi.request_of(change, self.keys.private))
        link.bring_up(self.interface, settings)
        return not change.is_empty

    def observed(self) -> Observed | None:
        """What stands. Raises DriverError."""
        return uapi.observed(uapi.exchange(self.socket, "get=1\n\n")) if self.is_alive() else None

    def begin_anew(self, peers: Sequence[TunnelPeer]) -> None:
        """Send their first handshake once more. Raises DriverError."""
        change = begin_anew(uapi.observed(uapi.exchange(self.socket, "get=1\n\n")), peers)
        if not change.is_empty:
            uapi.exchange(self.socket, uapi.request_of(change, self.keys.private))

    def is_alive(self) -> bool:
        """The interface goes when its process goes; an ended child is reaped here."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        return link.index_of(self.interface) is not None and self.socket.exists()

    def remove(self) -> None:
        """End the interface, and with it the process."""
        link.remove(self.interface)
        if self._process is not None:
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> None:
        if not is_available():
            hint = "apt-get install wireguard-go, and let this machine have /dev/net/tun; policy is enforced meanwhile"
            raise PlatformLack("neither WireGuard in the kernel nor wireguard-go on a TUN device", hint=hint)
        link.remove(self.interface)  # without its socket nobody can speak to it
        self.socket.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = process = subprocess.Popen(  # it outlives us on purpose
                [PROGRAM, "-f", self.interface], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LOG_LEVEL": "error", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self.is_alive():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DriverError(
                    f"wireguard-go did not start: see {self.log.name} in the agent's state directory"
                )
            self.pause(0.02)
