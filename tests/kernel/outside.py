"""A node with pods, and a neighbour beyond its own interface: documents, conversations, and what its programs say of one packet."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from federation.policy.parties import labels_of
from federation.policy.tables import Direction, RuleReference, Verdict
from federation.policy.walk import Packet
from federation.resources.codec import decode
from nodeagent.control.replica import State, key_of
from nodeagent.dataplane.ebpf import probe
from nodeagent.dataplane.ebpf.bpf import open_pin
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.desired import Decider
from nodeagent.drivers import DesiredPolicy, ObjectReport
from tests.kernel.conftest import run
from tests.kernel.frames import PLAIN, UDP, Address, Shape, frame
from tests.kernel.world import APPS, ME, document, endpoint

UP = "up0"
"""The node's own interface, behind which the neighbour is."""
NODE4, NODE6, FAR4, FAR6 = (ip_address(t) for t in ("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"))
PODS6 = "fd00:1::"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
"""linux/if_tun.h."""
TALK = """
import socket, sys
kind, address, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(0.7)
def ask():
    s.send(b"hello")
    return "yes" if s.recv(100) == b"hello" else "no"
try:
    s.connect((address, int(port)))
    print(ask(), flush=True)
    for line in sys.stdin:
        print(ask(), flush=True)
except OSError:
    print("no", flush=True)
"""
SERVE = """
import socket, sys, threading
address, *ports = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
def echo(c):
    with c:
        while data := c.recv(2048):
            c.sendall(data)
def tcp(s):
    while True:
        threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
def udp(s):
    while True:
        data, peer = s.recvfrom(2048)
        s.sendto(data, peer)
for port in map(int, ports):
    for kind, run in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
        s = socket.socket(family, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        if kind == socket.SOCK_STREAM:
            s.listen(16)
        threading.Thread(target=run, args=(s,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


class Edge:
    """The node, whose pod N is 10.10.1.N, with its neighbour at FAR4 and FAR6."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.far = f"{node.name}-o"
        self.driver = EbpfDriver(node.pin_dir, node.state_dir)
        self.decider = Decider(ME)
        self.serial = 0
        self.references: Mapping[int, RuleReference] = {}
        run("ip", "netns", "add", self.far)
        run("ip", "-n", node.name, "link", "add", UP, "type", "veth", "peer", "name", "eth0", "netns", self.far)  # fmt: skip
        for name, interface, v4, v6 in ((node.name, UP, NODE4, NODE6), (self.far, "eth0", FAR4, FAR6)):
            run("ip", "-n", name, "address", "add", f"{v4}/24", "dev", interface)
            run("ip", "-n", name, "address", "add", f"{v6}/64", "dev", interface, "nodad")
            run("ip", "-n", name, "link", "set", interface, "up")
        run("ip", "-n", self.far, "link", "set", "lo", "up")
        run("ip", "-n", self.far, "route", "add", "10.10.1.0/24", "via", str(NODE4))
        self.inside(node.name, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        run("ip", "-n", node.name, "-6", "route", "add", f"{PODS6}/64", "dev", "pod1")
        run("ip", "-n", node.name, "route", "add", "10.10.0.0/16", "dev", "pod1")
        self.index = self.index_of(UP)

    def gone(self) -> None:
        self.driver.close()
        subprocess.run(["ip", "netns", "del", self.far], check=False, capture_output=True)

    def inside(self, name: str, *words: str) -> str:
        return run("nsenter", f"--net=/run/netns/{name}", *words)

    def index_of(self, interface: str) -> int:
        with self.node.entered():
            return socket.if_nametoindex(interface)

    def start(self, name: str, program: str, *words: str) -> subprocess.Popen[str]:
        command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", program, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        self.node.started.append(process)
        return process

    def serve(self, name: str, address: Any, *ports: int) -> None:
        process = self.start(name, SERVE, str(address), *map(str, ports))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def talk(self, name: str, address: Any, port: int, kind: str = "tcp") -> "Talk":
        """A conversation from that namespace."""
        return Talk(self.start(name, TALK, kind, str(address), str(port)))

    def reaches(self, name: str, address: Any, port: int, kind: str = "tcp") -> bool:
        with self.talk(name, address, port, kind) as talk:
            return talk.hears()

    def converge(self, wanted: DesiredPolicy) -> tuple[ObjectReport, ...]:
        with self.node.entered():
            return self.driver.converge(wanted)

    def enforce(
        self, *policies: dict[str, Any], interface: str | None = UP, profiles: tuple[str, ...] = ()
    ) -> tuple[ObjectReport, ...]:
        """What is said of policies (GlobalNetworkPolicy), with a host endpoint (role: host) for that interface; None: without."""
        self.serial += 1
        state = self.state(policies, interface=interface, profiles=profiles)
        wanted = self.decider.decide(state).policy
        self.references = wanted.tables.references
        return self.converge(wanted)

    def state(
        self, policies: Iterable[dict[str, Any]], *, interface: str | None, profiles: tuple[str, ...] = ()
    ) -> State:
        pods = [endpoint(self.node, number, app, f"pod{number}") for number, app in APPS.items()]
        identities = [
            document("Identity", str(256 + n), {"number": 256 + n, "labels": labels_of(decode(one))})
            for n, one in zip(APPS, pods, strict=True)
        ]
        own = [str(NODE4), str(NODE6), "169.254.1.1"]
        host = {"node": "n1", "interfaceName": interface, "expectedIPs": own, "profiles": list(profiles)}
        made = [document("GlobalNetworkPolicy", f"p{n}", spec) for n, spec in enumerate(policies)]
        if interface:
            made.append(document("HostEndpoint", "h", host, cluster="dc1", labels={"role": "host"}))
        node = document("Node", "n1", {"addresses": own}, cluster="dc1")
        documents = {key_of(d): d for d in (*pods, *identities, node, *made)}
        return State(revision=self.serial, documents=documents)

    def instructions(self, name: str) -> int:
        """How many the verifier looked at before it let a program in (Linux 5.16)."""
        descriptor = open_pin(self.driver.generation / name)
        try:
            told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        finally:
            os.close(descriptor)
        return int(told.partition("verified_insns:")[2].split()[0])

    def says(self, direction: Direction, raw: bytes, came_by: int = 0) -> Verdict:
        """The program of what comes in (INGRESS), or goes out, at the node's interface."""
        name = "from_network" if direction is Direction.INGRESS else "to_network"
        with self.node.entered():
            program = self.driver.generation / name
            action = probe.ask(program, raw, interface=self.index, came_by=came_by).action
        assert action in (probe.ACT_NEXT, probe.ACT_SHOT)
        return Verdict.ALLOW if action == probe.ACT_NEXT else Verdict.DENY

    def comes(self, to: Address, packet: Packet, shape: Shape = PLAIN, peer: Address | None = None) -> Verdict:  # fmt: skip
        return self.says(Direction.INGRESS, frame(peer or far_of(to), to, packet, shape))

    def leaves(self, source: Address, packet: Packet, shape: Shape = PLAIN, came_by: int = 0, peer: Address | None = None) -> Verdict:  # fmt: skip
        return self.says(Direction.EGRESS, frame(source, peer or far_of(source), packet, shape), came_by)


class Talk:
    """A connection that is asked again and again."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._has_asked = False

    def hears(self) -> bool:
        """Whether what is sent now comes back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._has_asked and self._process.poll() is None:
            self._process.stdin.write("again\n")
            self._process.stdin.flush()
        self._has_asked = True
        return self._process.stdout.readline() == "yes\n"

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Tunnel:
    """An interface of the node whose packets have no Ethernet header, and whose other end the test holds."""

    def __init__(self, edge: Edge, name: str, address: str) -> None:
        with edge.node.entered():
            self._file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self._file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        run("ip", "-n", edge.node.name, "address", "add", address, "dev", name)
        run("ip", "-n", edge.node.name, "link", "set", name, "up")

    def answers(self, raw: bytes) -> bool:
        """Whether a UDP packet (IPv4, without Ethernet's header) is answered."""
        words = struct.unpack("!10H", raw[:20])
        total = sum(words) % 0xFFFF
        os.write(self._file, raw[:10] + struct.pack("!H", 0xFFFF - total) + raw[12:])
        while select.select([self._file], [], [], 0.7)[0]:
            got = os.read(self._file, 2048)
            if got[0] >> 4 == 4 and got[9] == UDP and got[16:20] == raw[12:16]:
                return True
        return False

    def close(self) -> None:
        os.close(self._file)


def far_of(own: Address) -> Address:
    return FAR4 if own.version == 4 else FAR6
