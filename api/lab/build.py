"""Making and unmaking a lab: namespaces, veths, routes, processes. Everything is found again by the lab's name, so `down` needs no memory."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.lab.topology import CONTROL_ADDRESS, CONTROL_PORT, PORT, Topology, is_name, must_be_name, tunnel_of
from federation.errors import DriverError, PlatformLack

LABS = Path("/run/causeway/labs")
PINS = Path("/sys/fs/bpf/causeway")
NETNS = Path("/run/netns")
WIREGUARD_SOCKETS = Path("/var/run/wireguard")
CLONE_NEWNET = 0x40000000
NEAR = "169.254.1.1"
"""The gateway that every workload and node sees, on the other end of its veth."""
FORWARDS = "for s in ip_forward=1 conf/all/rp_filter=0 conf/default/rp_filter=0; do echo ${s#*=} >/proc/sys/net/ipv4/${s%=*}; done"
"""For `sh -e`: written straight to /proc, because a bare Debian has no sysctl."""


def ip(*lines: str, netns: str = "") -> None:
    """Run lines of `ip -batch`, all in one namespace. Raises DriverError with the line that failed."""
    where = ["-n", netns] if netns else []
    _run(["ip", *where, "-batch", "-"], "\n".join(lines))


def _run(words: list[str], text: str = "") -> None:
    """Run a tool to its end. Raises DriverError with its words, PlatformLack when it is not there."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        hint = "./dev setup installs it (Debian's iproute2 and util-linux)"
        raise PlatformLack(f"{words[0]} is not installed", hint=hint) from error
    if done.returncode != 0:
        raise DriverError(f"{words[0]}: {done.stderr.strip()}", hint="clean up with: causeway lab down")


def inside(netns: str, *words: str) -> list[str]:
    """The command that runs `words` in a namespace (its network only: /sys/fs/bpf stays)."""
    return ["nsenter", f"--net={NETNS / netns}", *words]


def python(*words: str) -> list[str]:
    """A module of ours as a command."""
    return [sys.executable, "-m", *words]


def build(lab: Topology) -> None:
    """Namespaces, links, addresses, routes. The router knows no workload's prefix; a cluster's own network does."""
    ip(*(f"netns add {netns}" for netns in lab.namespaces))
    for netns in lab.namespaces:
        ip("link set lo up", netns=netns)
        _run(inside(netns, "sh", "-ec", FORWARDS))
    ip(f"address add {CONTROL_ADDRESS}/32 dev lo", netns=lab.router)
    for place, node in enumerate(lab.nodes):
        _join(lab.router, f"node{place}", node.netns, "up0", node.address)
    for node in lab.nodes:
        for other in lab.nodes:
            if other.cluster == node.cluster and other.number > node.number:
                there, here = f"lan{other.number}", f"lan{node.number}"
                ip(f"link add {there} type veth peer name {here} netns {other.netns}", netns=node.netns)
                for netns, interface, own, far in (
                    (node.netns, there, node, other),
                    (other.netns, here, other, node),
                ):
                    ip(
                        f"link set {interface} up",
                        f"address add 169.254.2.{own.number}/32 dev {interface}",
                        f"route add {far.prefix} via 169.254.2.{far.number} dev {interface} onlink",
                        netns=netns,
                    )
    by_name = {(node.cluster, node.name): node for node in lab.nodes}
    for workload in lab.workloads:
        node = by_name[workload.cluster, workload.node]
        _join(node.netns, workload.interface, workload.netns, "eth0", workload.address)


def _join(upper: str, interface: str, lower: str, lower_interface: str, address: str) -> None:
    """A veth whose lower end has an address and its default route through the upper one."""
    ip(
        f"link add {interface} type veth peer name {lower_interface} netns {lower}",
        f"link set {interface} up",
        f"address add {NEAR}/32 dev {interface}",
        f"route add {address}/32 dev {interface}",
        netns=upper,
    )
    ip(
        f"link set {lower_interface} up",
        f"address add {address}/32 dev {lower_interface}",
        f"route add {NEAR}/32 dev {lower_interface}",
        f"route add default via {NEAR} dev {lower_interface}",
        netns=lower,
    )


def start_workloads(lab: Topology) -> None:
    """Every workload's server."""
    for workload in lab.workloads:
        start(
            inside(workload.netns, *python("api.lab.workload", "serve", str(PORT))),
            LABS / lab.name / f"{workload.netns}.log",
        )


def start(command: list[str], log: Path, **how: Any) -> "subprocess.Popen[bytes]":
    """Start a process of the lab, in a session of its own."""
    with log.open("ab") as file:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, **how
        )
        return process


def start_control_plane(lab: Topology, port: int) -> "subprocess.Popen[bytes]":
    """The control plane: on loopback for people, and on a socket inside the router's namespace for the nodes."""
    listener = _socket_in(lab.router)
    folder = LABS / lab.name
    command = python(
        "api.cli.main", "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(folder / "server")
    )
    try:
        # The shell moves the listener to descriptor 3, where socket activation expects it; sh knows descriptors of one digit only.
        words = ["bash", "-c", f'exec "$@" 3<&{listener.fileno()}', "bash", *command]
        environment = {**os.environ, "LISTEN_FDS": "1"}
        return start(words, folder / "server.log", pass_fds=[listener.fileno()], env=environment)
    finally:
        listener.close()


def _socket_in(netns: str) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(NETNS / netns, os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise DriverError(f"cannot enter {netns}: {os.strerror(ctypes.get_errno())}")
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((CONTROL_ADDRESS, CONTROL_PORT))
        return listener
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)


def standing(name: str) -> list[str]:
    """The namespaces of a lab that exist."""
    return sorted(path.name for path in NETNS.glob(f"cw-{name}-*")) if NETNS.exists() else []


def names() -> list[str]:
    """Every lab of which anything stands: its folder, a namespace or a pin."""
    found = {path.name for folder in (LABS, PINS) if folder.exists() for path in folder.iterdir()}
    found |= {path.name.split("-")[1] for path in NETNS.glob("cw-*-*")} if NETNS.exists() else set()
    return sorted(name for name in found if is_name(name))  # pins of a real agent have a dash in their name


def down(name: str) -> None:
    """Unmake a lab, whatever of it stands: processes in its namespaces, its control plane, namespaces, sockets, pins, files.

    Deaf to Ctrl-C, and in an order that lets a second call finish what a killed one began. Raises DriverError when something stays.
    """
    must_be_name(name)
    folder = LABS / name
    with undisturbed():
        spaces = standing(name)
        for netns in spaces:
            listed = subprocess.run(
                ["ip", "netns", "pids", netns], capture_output=True, text=True, check=False
            )
            for word in listed.stdout.split():
                _kill(int(word))
        for pid in control_planes(folder):
            _kill(pid)
        for netns in spaces:
            (WIREGUARD_SOCKETS / f"{tunnel_of(netns)}.sock").unlink(missing_ok=True)
            subprocess.run(["ip", "netns", "del", netns], check=False, capture_output=True)
        for place in (PINS / name, folder):
            shutil.rmtree(place, ignore_errors=True)
        left = [*standing(name), *(str(place) for place in (PINS / name, folder) if place.exists())]
    if left:
        raise DriverError(f"of lab {name} this stays: {', '.join(left)}", hint="remove it by hand, as root")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Deaf to Ctrl-C and SIGTERM, and so are the tools that are started meanwhile."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def control_planes(folder: Path) -> list[int]:
    """The processes that serve from a lab's folder. They run outside its namespaces, and one that was just born has no pid file yet."""
    mark = f"--data-dir\0{folder / 'server'}\0".encode()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in command_line(int(path.name))]


def command_line(pid: int) -> bytes:
    """A process's words; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
