"""Who is measured: a node with two pods for each contender, the same world put on all of them, and the proof that it is the same."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from api.lab import build
from benchmarks.datapath import iptables, nftables
from benchmarks.datapath.worlds import (
    BYSTANDERS,
    DATAGRAM_PORT,
    TARGET_INTERFACE,
    TCP,
    UDP,
    World,
    desired,
    world,
)
from benchmarks.pods import FIRST_PORT, PORTS, SOURCE, TARGET, Pods, on, pods, wait_for
from benchmarks.spine import policies
from nodeagent.dataplane.ebpf.driver import EbpfDriver

OURS, NONE, NFTABLES, IPTABLES = "ours", "no policy", "nftables", "iptables"
TOOLS = {IPTABLES: ("iptables-restore", "ipset"), NFTABLES: ("nft",)}
"""What a contender cannot do without."""
ECHO_PORT, IPERF_PORT = 7000, DATAGRAM_PORT
NEAR, FAR = (ends := sorted(os.sched_getaffinity(0)))[0], ends[-1]
"""Cores. Clients stay on the first and servers on the last, so that no turn is luckier than another; only who answers single bytes sits
beside the one who asks, because waking another core takes five times what is to be measured."""
TOOL_SECONDS = 60
PROBE_SECONDS = 0.5
PROTOCOLS = {"tcp": TCP, "udp": UDP}
PROBES = (("tcp", FIRST_PORT), ("tcp", FIRST_PORT + PORTS - 1), ("tcp", ECHO_PORT), ("udp", ECHO_PORT))


@dataclass
class Contenders:
    """One node with two pods for each, a worker in each client's pod, and our driver."""

    nodes: dict[str, Pods]
    driver: EbpfDriver
    workers: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def enforce(self, given: World) -> None:
        """Put the same world on all who can have one, then look whether it is there: what the client may do, and one thing it may not."""
        policies.enforce(self.driver, self.nodes[OURS], desired(given))
        if IPTABLES in self.nodes:
            node = self.nodes[IPTABLES]
            tool(node, "iptables-restore", text="*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
            tool(node, "ipset", "destroy")
            tool(node, "ipset", "restore", text=iptables.sets(given))
            tool(node, "iptables-restore", text=iptables.chains(given))
        if NFTABLES in self.nodes:
            tool(self.nodes[NFTABLES], "nft", "-f", "-", text=nftables.ruleset(given))
        self.must_agree(given)

    def must_agree(self, given: World) -> None:
        """Send real packets through all contenders; raises RuntimeError when one judges otherwise than the world says."""
        probes = [(kind, str(TARGET), port) for kind, port in PROBES]
        right = [given.allows(TARGET_INTERFACE, SOURCE, PROTOCOLS[kind], port) for kind, port in PROBES]
        for name in self.workers:
            self.tell(name, "passed", probes, PROBE_SECONDS)
        for name in self.workers:
            found = self.hear(name)
            if found != ([True] * len(probes) if name == NONE else right):
                raise RuntimeError(f"{name} says {found} of {PROBES}; right is {right}")

    def ask(self, name: str, *words: object) -> Any:
        """What a contender's worker answers."""
        self.tell(name, *words)
        return self.hear(name)

    def tell(self, name: str, *words: object) -> None:
        """Begin a piece of work in the client's pod."""
        pipe = self.workers[name].stdin
        assert pipe is not None
        pipe.write(json.dumps(words) + "\n")
        pipe.flush()

    def hear(self, name: str) -> Any:
        """The answer to `tell`. Raises RuntimeError when the worker has died of the question."""
        pipe = self.workers[name].stdout
        assert pipe is not None
        if not (line := pipe.readline()):
            raise RuntimeError(f"the client of {name} has ended: what it said is above")
        return json.loads(line)


def tool(node: Pods, *words: str, text: str = "") -> str:
    """Run a contender's tool in its node. Raises RuntimeError with the tool's own words."""
    command = build.inside(node.node, *words)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr.strip()[:500]}")
    return done.stdout


def missing(which: Callable[[str], object] = shutil.which) -> dict[str, str]:
    """Contenders that cannot be measured here, with the tool that is not there."""
    lacks = {name: [word for word in words if not which(word)] for name, words in TOOLS.items()}
    return {name: words[0] for name, words in lacks.items() if words}


def note_of(lacks: Mapping[str, str]) -> str:
    """For a row's note."""
    return "; ".join(f"{name} not measured: no {word} here" for name, word in lacks.items())


@contextmanager
def contenders() -> Iterator[Contenders]:
    """Build all; unbuild all, whatever happens."""
    names = [name for name in (OURS, NONE, NFTABLES, IPTABLES) if name not in missing()]
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = {name: stack.enter_context(pods()) for name in names}
        driver = EbpfDriver(nodes[OURS].pin_dir, state)
        stack.callback(driver.close)
        given = Contenders(nodes, driver)
        for name, node in nodes.items():
            pairs = zip(BYSTANDERS[::2], BYSTANDERS[1::2], strict=True)
            build.ip(*(f"link add {a} type veth peer name {b}" for a, b in pairs), netns=node.node)
            node.load(2, "serve", str(TARGET), str(FIRST_PORT), str(PORTS), core=FAR)
            node.load(2, "echo", str(TARGET), str(ECHO_PORT), core=NEAR)
            node.load(2, "answer", str(TARGET), str(ECHO_PORT))
            server = node.start(2, *on(FAR), "iperf3", "--forceflush", "-s", "-p", str(IPERF_PORT))
            wait_for(server, "listening")
            given.workers[name] = node.load(1, "work", core=NEAR)
        yield given


def worlds_to_agree_on() -> Sequence[World]:
    """Small worlds that between them try each kind of line for and against the client."""
    nets = [IPv4Network("10.99.0.0/16"), IPv4Network("192.0.2.0/24")]
    return (
        world(10),
        world(10, client_groups=()),
        world(10, client_groups=(0,)),
        world(100, 20, client_groups=(10, 18)),
        world(10, 1),
        world(10, client_groups=(), networks=nets),
        world(10, client_groups=(), networks=[net for net in nets if SOURCE not in net]),
    )


def prove_agreement(given: Contenders) -> int:
    """Put each of those worlds on all; how many answers were compared."""
    all_worlds = worlds_to_agree_on()
    for each in all_worlds:
        given.enforce(each)
    return len(all_worlds) * len(PROBES) * len(given.workers)
