"""Real packets of both families: TCP and UDP, ping, what an error says, fragments, and a protocol by its number."""

import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tests.kernel.world import World

pytestmark = pytest.mark.kernel
EXPERIMENT = 253
"""A protocol for experiments (RFC 3692)."""
HELPERS = """
import socket, struct, sys, threading
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET

def made(kind, protocol=0):
    s = socket.socket(family, kind, protocol)
    s.settimeout(0.7)
    return s
"""
SERVE = (
    HELPERS
    + """
tcp, udp, raw = made(socket.SOCK_STREAM), made(socket.SOCK_DGRAM), made(socket.SOCK_RAW, 253)
tcp.settimeout(None), udp.settimeout(None), raw.settimeout(None)
for s in (tcp, udp):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, 8080))
raw.bind((address, 0))
tcp.listen(8)

def datagrams(s):
    while True:
        data, peer = s.recvfrom(65536)
        body = data if family == socket.AF_INET6 or s is udp else data[20:]
        s.sendto(body, peer)

for s in (udp, raw):
    threading.Thread(target=datagrams, args=(s,), daemon=True).start()
print("ready", flush=True)
while True:
    c, _ = tcp.accept()
    with c:
        c.sendall(c.recv(4096))
"""
)
ASK = (
    HELPERS
    + """
what = sys.argv[2]
body = (b"causeway" * 1000)[: int(sys.argv[3])]

def stream():
    s = made(socket.SOCK_STREAM)
    s.connect((address, 8080))
    s.sendall(body)
    return s.recv(4096) == body

def datagram(port=8080):
    s = made(socket.SOCK_DGRAM)
    s.connect((address, port))
    s.send(body)
    return s.recv(65536) == body

def ping():
    is_v6 = family == socket.AF_INET6
    s = made(socket.SOCK_RAW, 58 if is_v6 else 1)
    head = struct.pack("!BBHHH", 128 if is_v6 else 8, 0, 0, 77, 1)
    total = sum(struct.unpack(f"!{(len(head) + len(body)) // 2}H", head + body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    s.sendto(head[:2] + (b"\\0\\0" if is_v6 else struct.pack("!H", ~total & 0xFFFF)) + head[4:] + body, (address, 0))
    while True:
        got, _ = s.recvfrom(65536)
        got = got if is_v6 else got[20:]
        if got[0] == (129 if is_v6 else 0) and got[4:6] == head[4:6]:
            return got[8:] == body

def numbered():
    s = made(socket.SOCK_RAW, 253)
    s.sendto(body, (address, 0))
    got, _ = s.recvfrom(65536)
    return (got if family == socket.AF_INET6 else got[20:]) == body

try:
    print({"tcp": stream, "udp": datagram, "ping": ping, "253": numbered, "closed": lambda: datagram(9)}[what]())
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("nothing")
"""
)
TO_DB = {"selector": "app == 'db'"}
PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "253": EXPERIMENT}


@pytest.fixture
def world(node: Any) -> Any:
    node.make_dual()
    made = World(node)
    yield made
    made.driver.close()


@pytest.fixture(params=[0, 1], ids=["v4", "v6"])
def address(request: pytest.FixtureRequest, world: World) -> IPv4Address | IPv6Address:
    """The database's, of one family; it answers."""
    found = world.node.addresses(3)[request.param]
    server = world.node.start(3, sys.executable, "-c", SERVE, str(found))
    assert server.stdout.readline() == "ready\n"
    return found


def ask(world: World, source: int, address: IPv4Address | IPv6Address, what: str, size: int = 64) -> str:
    """What a pod gets: True, False (something else), refused, nothing."""
    command = ["nsenter", f"--net=/run/netns/{world.node.pod(source)}", sys.executable, "-c", ASK]
    asked = [*command, str(address), what, str(size)]
    return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def allow(address: IPv4Address | IPv6Address, what: str) -> dict[str, Any]:
    """A policy that lets one thing in from the front end, and nothing else."""
    is_v6 = address.version == 6
    matched: dict[str, Any] = {"protocol": PROTOCOLS.get(what)}
    if what == "ping":
        matched = {
            "protocol": "ICMPv6" if is_v6 else "ICMP",
            "icmp": {"type": 128 if is_v6 else 8, "code": 0},
        }
    rule = {
        "action": "Allow",
        "ipVersion": address.version,
        "source": {"selector": "app == 'api'"},
        **matched,
    }
    return {**TO_DB, "ingress": [rule]}


@pytest.mark.parametrize("what", ["tcp", "udp", "ping", "253"])
def test_only_what_is_allowed_gets_through(
    world: World, address: IPv4Address | IPv6Address, what: str
) -> None:
    others = {"tcp", "udp", "ping", "253"} - {what}
    world.enforce({**TO_DB, "ingress": [{"action": "Allow"}]})
    assert {ask(world, 2, address, each) for each in (what, *others)} == {"True"}, "the servers answer"
    world.enforce(allow(address, what), revision=2)
    assert ask(world, 2, address, what) == "True"
    assert ask(world, 1, address, what) == "nothing", "somebody else"
    assert {ask(world, 2, address, other) for other in others} == {"nothing"}


def test_an_error_about_a_flow_that_is_known_comes_back(
    world: World, address: IPv4Address | IPv6Address
) -> None:
    world.enforce(allow(address, "udp"))
    assert ask(world, 2, address, "closed") == "refused"
    world.enforce(allow(address, "tcp"), revision=2)
    assert ask(world, 2, address, "closed") == "nothing"


@pytest.mark.parametrize("what", ["udp", "ping"])
def test_fragments_follow_the_first(world: World, address: IPv4Address | IPv6Address, what: str) -> None:
    world.enforce(allow(address, what))
    assert ask(world, 2, address, what, 6000) == "True"
    assert ask(world, 1, address, what, 6000) == "nothing"
    world.enforce(allow(address, "tcp"), revision=2)
    assert ask(world, 2, address, what, 6000) == "nothing"
