"""One node with two pods, made of network namespaces: what a policy is put on, and what is sent through it."""

import ctypes
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from api.lab import build

SOURCE, TARGET = IPv4Address("10.99.1.1"), IPv4Address("10.99.1.2")
FIRST_PORT, PORTS = 9000, 32
"""The target listens on many ports, so that no connection's ports come back: a flow that is known already would cost nothing."""
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Pods:
    """`node` holds the host side (`pod1`, `pod2`); each pod is a namespace of its own."""

    name: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def node(self) -> str:
        """The node's namespace."""
        return self.name

    @property
    def pin_dir(self) -> Path:
        """Where our programs are pinned for this node."""
        return Path("/sys/fs/bpf") / self.name

    def pod(self, number: int) -> str:
        """A pod's namespace."""
        return f"{self.name}-p{number}"

    def load(self, number: int, *words: str, core: int | None = None) -> subprocess.Popen[str]:
        """Start a part of `benchmarks.load` in a pod (on one core, if said), and wait until it says that it is ready."""
        process = self.start(number, *on(core), *build.python("benchmarks.load", *words))
        wait_for(process, "ready")
        return process

    def start(self, number: int, *words: str) -> subprocess.Popen[str]:
        """Start a command in a pod; it ends with the pods."""
        process = start(self.pod(number), *words)
        self.started.append(process)
        return process

    def ask(self, number: int, *words: str, timeout: float = 20) -> str:
        """Run a command in a pod; its output."""
        command = build.inside(self.pod(number), *words)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout).stdout

    @contextmanager
    def entered(self, netns: str = "") -> Iterator[None]:
        """This thread, in the network namespace of the node, or of a pod."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(build.NETNS / (netns or self.node), os.O_RDONLY)
        try:
            if LIBC.setns(there, build.CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"enter {netns or self.node}")
            yield
        finally:
            LIBC.setns(home, build.CLONE_NEWNET)
            os.close(home)
            os.close(there)


def on(core: int | None) -> tuple[str, ...]:
    """What is put before a command that is to stay on one core."""
    return () if core is None else ("taskset", "-c", str(core))


def start(netns: str, *words: str) -> subprocess.Popen[str]:
    """Start a command in a namespace, with pipes to it and from it."""
    command = build.inside(netns, *words)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read what it says until it says the word. Raises RuntimeError when it ends before."""
    assert process.stdout is not None
    while word not in (line := process.stdout.readline()):
        if not line:
            raise RuntimeError(f"{process.args!r} did not start")


@contextmanager
def pods() -> Iterator[Pods]:
    """Make the namespaces; unmake them and all that runs in them, whatever happens."""
    made = Pods(f"cwb{uuid.uuid4().hex[:6]}")
    namespaces = (made.node, made.pod(1), made.pod(2))
    try:
        build.ip(*(f"netns add {name}" for name in namespaces))
        for name in namespaces:
            build.ip("link set lo up", netns=name)
        subprocess.run(
            build.inside(made.node, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"), check=True
        )
        for number, address in ((1, SOURCE), (2, TARGET)):
            _join(made, number, address)
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.communicate()
        for name in namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(made.pin_dir, ignore_errors=True)


def _join(made: Pods, number: int, address: IPv4Address) -> None:
    pod = made.pod(number)
    build.ip(
        f"link add pod{number} type veth peer name eth0 netns {pod}",
        f"link set pod{number} up",
        f"address add {build.NEAR}/32 dev pod{number}",
        f"route add {address}/32 dev pod{number}",
        netns=made.node,
    )
    build.ip(
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"route add {build.NEAR}/32 dev eth0",
        f"route add default via {build.NEAR} dev eth0",
        netns=pod,
    )
