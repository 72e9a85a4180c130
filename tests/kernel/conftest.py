"""Namespaces for real packets: a node with pods behind veths. Made by the test, gone at its end."""

import ctypes
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

SERVER = """
import socket, sys
kind = sys.argv[1]
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], 8080))
if kind == "udp":
    print("ready", flush=True)
    while True:
        data, peer = s.recvfrom(2048)
        s.sendto(data, peer)
s.listen(64)
print("ready", flush=True)
import threading
def serve(c):
    with c:
        while data := c.recv(2048):
            c.sendall(data)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
ASK = """
import socket, sys
kind, address = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(0.7)
try:
    s.connect((address, 8080))
    s.send(b"hello")
    print(s.recv(100).decode())
except OSError:
    print("nothing")
"""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@dataclass
class Node:
    """A namespace with pods; pod N has 10.10.1.N behind interface podN."""

    name: str
    pin_dir: Path
    state_dir: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    is_dual: bool = False
    """Whether pods have IPv6 addresses too: fd00:10:1::N."""

    def pod(self, number: int) -> str:
        return f"{self.name}-p{number}"

    def address(self, number: int) -> IPv4Address:
        return IPv4Address(f"10.10.1.{number}")

    def addresses(self, number: int) -> tuple[IPv4Address | IPv6Address, ...]:
        both = (self.address(number), IPv6Address(f"fd00:10:1::{number}"))
        return both if self.is_dual else both[:1]

    def make_dual(self) -> None:
        """Give the pods IPv6 too."""
        self.is_dual = True
        run(
            "nsenter",
            f"--net=/run/netns/{self.name}",
            "sh",
            "-c",
            "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        )
        for number in (1, 2, 3):
            pod, address = self.pod(number), str(self.addresses(number)[1])
            run("ip", "-n", self.name, "address", "add", "fe80::1/64", "dev", f"pod{number}", "nodad")
            run("ip", "-n", self.name, "route", "add", f"{address}/128", "dev", f"pod{number}")
            run("ip", "-n", pod, "address", "add", f"{address}/128", "dev", "eth0", "nodad")
            run("ip", "-n", pod, "route", "add", "default", "via", "fe80::1", "dev", "eth0")

    def start(self, number: int, *words: str) -> subprocess.Popen[str]:
        command = ["nsenter", f"--net=/run/netns/{self.pod(number)}", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def serve(self, number: int) -> None:
        for kind in ("tcp", "udp"):
            process = self.start(number, sys.executable, "-c", SERVER, kind, str(self.address(number)))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def reaches(self, source: int, destination: int, kind: str = "tcp") -> bool:
        return self.asks(source, str(self.address(destination)), kind)

    def asks(self, source: int, address: str, kind: str = "tcp") -> bool:
        """Whether a pod gets an answer from that address."""
        words = ("nsenter", f"--net=/run/netns/{self.pod(source)}", sys.executable, "-c", ASK, kind)
        return run(*words, address) == "hello\n"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, in the node's network namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            assert LIBC.setns(there, CLONE_NEWNET) == 0
            yield
        finally:
            assert LIBC.setns(home, CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    if os.geteuid() != 0:
        pytest.skip("root is needed to make network namespaces")
    if not Path("/sys/fs/bpf").is_mount():
        pytest.skip("bpffs is not mounted at /sys/fs/bpf")
    name = f"cwt{uuid.uuid4().hex[:6]}"
    made = Node(name, Path("/sys/fs/bpf") / name, tmp_path)
    try:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        # A bare Debian has no sysctl.
        run("nsenter", f"--net=/run/netns/{name}", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for number in (1, 2, 3):
            pod = made.pod(number)
            run("ip", "netns", "add", pod)
            run(
                "ip",
                "-n",
                name,
                "link",
                "add",
                f"pod{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                pod,
            )
            run("ip", "-n", name, "link", "set", f"pod{number}", "up")
            run("ip", "-n", name, "address", "add", "169.254.1.1/32", "dev", f"pod{number}")
            run("ip", "-n", name, "route", "add", f"{made.address(number)}/32", "dev", f"pod{number}")
            run("ip", "-n", pod, "link", "set", "eth0", "up")
            run("ip", "-n", pod, "link", "set", "lo", "up")
            run("ip", "-n", pod, "address", "add", f"{made.address(number)}/32", "dev", "eth0")
            run("ip", "-n", pod, "route", "add", "169.254.1.1/32", "dev", "eth0")
            run("ip", "-n", pod, "route", "add", "default", "via", "169.254.1.1")
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stdin):
                if stream:
                    stream.close()
        for namespace in (name, *(made.pod(n) for n in (1, 2, 3))):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
        if made.pin_dir.exists():
            for path in sorted(made.pin_dir.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            made.pin_dir.rmdir()
