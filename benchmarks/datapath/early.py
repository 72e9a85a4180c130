"""Packets that are denied in a second at an interface of the node, by where that is done: by XDP in the driver (a veth takes frames as a network card's
driver does: no packet of the kernel is made yet) and behind it, by our tc program, and by nftables' hooks. Frames come from BPF_PROG_TEST_RUN, each from
another denied prefix, and are handled on the core that sends them: the figure holds the sender too, which `XDP_DROP alone` tells.

bcc is imported in a child alone: `python -m benchmarks.datapath.early PIN_FOLDER WORK_FOLDER`.
"""

import ctypes
import fcntl
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from api.lab import build
from benchmarks.datapath import worlds
from benchmarks.datapath.contenders import NEAR, NFTABLES, Contenders, missing, note_of, tool
from benchmarks.frames import ETHERNET, ipv4
from benchmarks.pods import Pods, pods
from benchmarks.rows import Aim, Row, compared, grown
from benchmarks.spine import policies
from federation.policy.failsafe import FAILSAFE
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from nodeagent.control.replica import State, key_of
from nodeagent.dataplane.ebpf import bpf, layout, probe
from nodeagent.dataplane.ebpf.build import headers
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.linux import links, xdp
from nodeagent.dataplane.linux.hooks import FOLDER
from nodeagent.dataplane.linux.xdp import Mode
from nodeagent.desired import Decider
from nodeagent.drivers import DesiredPolicy

SOURCE = Path(__file__).with_suffix(".c")
PROGRAMS = ("send_early", "drop_early")
COMPILE_SECONDS = 60
SIZES = (10, 1_000, 100_000)
FACE, SENDER = "pod1", "eth0"
OWN_ADDRESS = IPv4Address(build.NEAR)
PACKETS, TURNS = 200_000, 7
LEAST_SHARE = 0.99
"""Of what is sent has to be denied: else something else was measured."""
ETHTOOL, SET_GRO = 0x8946, 0x2C
"""SIOCETHTOOL, ETHTOOL_SGRO."""
NATIVE, GENERIC, TC, NETDEV, RAW, INPUT, ALONE = (
    "XDP native", "XDP generic", "tc", "nftables ingress", "nftables prerouting", "nftables input", "XDP_DROP alone",
)  # fmt: skip
HOOKS = {
    NETDEV: ("netdev", f'type filter hook ingress device "{FACE}" priority 0;'),
    RAW: ("ip", "type filter hook prerouting priority raw;"),
    INPUT: ("ip", "type filter hook input priority filter;"),
}
CHOICES = {NATIVE: "auto", GENERIC: "generic", TC: "off"}
AIMS = {NATIVE: Aim(least=1), GENERIC: None, TC: None}
PEERS = {NATIVE: (NETDEV, TC, GENERIC, RAW, INPUT, ALONE), GENERIC: (NETDEV, TC), TC: (NETDEV, RAW, INPUT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Denier:
    """One way to deny, on a node of its own."""

    node: Pods
    deny: Callable[[Sequence[IPv4Network], DesiredPolicy], None]
    denied: Callable[[], int]
    """Packets so far."""


def main(pin_folder: Path, work_folder: Path) -> None:
    """Compile, load, pin."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.build(work_folder / "headers"))
    from bcc import BPF, lib  # type: ignore[import-untyped,unused-ignore]  # after the environment is set

    compiled = BPF(text=SOURCE.read_text(), cflags=["-Wno-macro-redefined"])
    pin_folder.mkdir(parents=True)
    for name in PROGRAMS:
        descriptor = compiled.load_func(name, BPF.XDP).fd
        if lib.bpf_obj_pin(descriptor, ctypes.c_char_p(str(pin_folder / name).encode())) != 0:
            raise OSError(ctypes.get_errno(), f"pin {name}")


def rows(_: Contenders | None) -> Iterator[Row]:
    """By the number of denied prefixes."""
    by_name: dict[str, list[tuple[float, Row]]] = {name: [] for name in CHOICES}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        programs = stack.enter_context(_loaded(work))
        deniers = {name: stack.enter_context(_ours(choice, work / name)) for name, choice in CHOICES.items()}
        if NFTABLES not in missing():
            deniers |= {name: stack.enter_context(_nftables(name)) for name in HOOKS}
        deniers[ALONE] = stack.enter_context(_alone(programs))
        cores = os.sched_getaffinity(0)
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {NEAR})
        for size in SIZES:
            for name, row in _measured(deniers, programs / "send_early", size):
                by_name[name].append((size, row))
    for rows_of_one in by_name.values():
        yield from grown(rows_of_one)


def _measured(deniers: dict[str, Denier], sender: Path, size: int) -> Iterator[tuple[str, Row]]:
    nets = worlds.networks(size)
    wanted = desired(nets)
    for denier in deniers.values():
        denier.deny(nets, wanted)
    samples: dict[str, list[float]] = {name: [] for name in deniers}
    for turn in range(TURNS):
        names = list(deniers)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            samples[name].append(_rate(deniers[name], sender, nets))
    for ours in CHOICES:
        peers = [name for name in PEERS[ours] if name in samples]
        row = compared(
            f"{ours}: denied packets, {size:,} denied prefixes",
            "1/s",
            {name: samples[name] for name in (ours, *peers)},
            aim=AIMS[ours] if NETDEV in samples else None,
        )
        yield (
            ours,
            replace(row, note="; ".join([*leads(samples, ours, peers), note_of(missing())]).strip("; ")),
        )


def leads(samples: dict[str, list[float]], ours: str, peers: Sequence[str]) -> list[str]:
    """How many times as many as each peer: the median of each turn's own ratio."""
    return [
        f"over {name} {statistics.median(a / b for a, b in zip(samples[ours], samples[name], strict=True)):.2f}"
        for name in peers
    ]


def _rate(denier: Denier, sender: Path, nets: Sequence[IPv4Network]) -> float:
    """Denied packets in a second. Raises RuntimeError when some were not."""
    mac = bytes.fromhex(_interface(denier.node)["address"].replace(":", ""))
    with denier.node.entered(denier.node.pod(1)):
        told = frame(nets, mac, socket.if_nametoindex(SENDER))
        before, began = denier.denied(), time.monotonic()
        probe.ask_early(sender, told, PACKETS, is_live=True)
        seconds = time.monotonic() - began
    denied = denier.denied() - before
    if denied < LEAST_SHARE * PACKETS:
        raise RuntimeError(f"{denied} of {PACKETS} packets were denied")
    return denied / seconds


def frame(nets: Sequence[IPv4Network], mac: bytes, ifindex: int) -> bytes:
    """What the sender is given: a datagram to the node, whose payload says from where, and through which interface."""
    told = struct.pack("=III", int(nets[0].network_address), len(nets), ifindex)
    datagram = struct.pack("!HHHH", 40000, 9, 8 + len(told), 0) + told
    return mac + ETHERNET[6:] + ipv4(nets[0].network_address, OWN_ADDRESS, socket.IPPROTO_UDP, datagram)


def desired(nets: Sequence[IPv4Network]) -> DesiredPolicy:
    """A node whose interface is asked by one doNotTrack policy that denies a set; failsafe ports come first, as always."""
    spec = {
        "selector": "all()", "types": ["Ingress"], "doNotTrack": True, "applyOnForward": True,
        "ingress": [{"action": "Deny", "source": {"selector": "is == 'denied'"}}],
    }  # fmt: skip
    documents = (
        _document("Node", "n", {"addresses": [str(OWN_ADDRESS)]}, cluster="dc1"),
        _document("HostEndpoint", "h", {"node": "n", "interfaceName": FACE}, cluster="dc1", labels={"is": "host"}),
        _document("GlobalNetworkSet", "denied", {"nets": [str(net) for net in nets]}, labels={"is": "denied"}),
        _document("GlobalNetworkPolicy", "early", spec),
    )  # fmt: skip
    state = State(revision=1, documents={key_of(each): each for each in documents})
    return Decider(ObjectKey("Node", "dc1", "", "n")).decide(state).policy


def ruleset(hook: str, nets: Sequence[IPv4Network]) -> str:
    """For `nft -f`: failsafe ports and the ports that answers to them come from, in a set each; then the denied ones."""
    family, where = HOOKS[hook]
    table = f"table {family} early"
    return f"""{table} {{}}
delete {table}
{table} {{
set denied {{ type ipv4_addr; flags interval; elements = {{ {", ".join(map(str, nets))} }} }}
chain in {{
{where}
{_safe("dport", Direction.INGRESS)}
{_safe("sport", Direction.EGRESS)}
ip saddr @denied counter drop
}}
}}
"""


def _safe(port: str, direction: Direction) -> str:
    names = {6: "tcp", 17: "udp"}
    members = dict.fromkeys(f"{names[each.protocol]} . {each.port}" for each in FAILSAFE.ports(direction))
    return f"meta l4proto . th {port} {{ {', '.join(members)} }} accept"


def _document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


@contextmanager
def _loaded(work: Path) -> Iterator[Path]:
    """The folder of the sender's pins; gone at the end."""
    pins = Path("/sys/fs/bpf") / f"cwb-early-{os.getpid()}"
    try:
        command = build.python("benchmarks.datapath.early", str(pins), str(work))
        subprocess.run(command, check=True, timeout=COMPILE_SECONDS, stderr=subprocess.DEVNULL)
        yield pins
    finally:
        shutil.rmtree(pins, ignore_errors=True)


@contextmanager
def _node() -> Iterator[Pods]:
    """A node whose interface takes frames as a network card's driver does."""
    with pods() as node:
        asked = ctypes.create_string_buffer(struct.pack("=II", SET_GRO, 1))
        request = struct.pack("=16sQ16x", FACE.encode(), ctypes.addressof(asked))
        with node.entered(), socket.socket() as handle:
            fcntl.ioctl(handle, ETHTOOL, request)
        yield node


@contextmanager
def _ours(choice: str, work: Path) -> Iterator[Denier]:
    with _node() as node:
        driver = EbpfDriver(node.pin_dir, work, xdp=choice)

        def deny(_: Sequence[IPv4Network], wanted: DesiredPolicy) -> None:
            policies.enforce(driver, node, wanted)
            with node.entered():
                found = list(xdp.look(node.pin_dir / FOLDER).values())
            if found != {"auto": [Mode.NATIVE], "generic": [Mode.GENERIC], "off": []}[choice]:
                raise RuntimeError(f"xdp {choice}: hung are {found}")

        def denied() -> int:
            held = bpf.PinnedMap(driver.generation / "counters", 4, 8, bpf.possible_processors())
            try:
                value = dict(held.items())[layout.NUMBER.pack(layout.COUNTERS.index("denied"))]
            finally:
                held.close()
            return sum(each for (each,) in layout.NUMBER64.iter_unpack(value))

        try:
            yield Denier(node=node, deny=deny, denied=denied)
        finally:
            driver.close()


@contextmanager
def _nftables(hook: str) -> Iterator[Denier]:
    with _node() as node:
        family, _ = HOOKS[hook]

        def denied() -> int:
            told = tool(node, "nft", "list", "chain", family, "early", "in")
            return int(re.findall(r"counter packets (\d+)", told)[0])

        yield Denier(node=node, deny=lambda nets, _: _quietly(node, ruleset(hook, nets)), denied=denied)


@contextmanager
def _alone(programs: Path) -> Iterator[Denier]:
    """Nothing but a drop, in the driver."""
    with _node() as node:
        with node.entered():
            index = links.index_of(FACE)
            assert index is not None
            xdp.attach(index, programs / "drop_early", node.pin_dir, (Mode.NATIVE,))

        yield Denier(
            node=node, deny=lambda *_: None, denied=lambda: int(_interface(node)["stats64"]["rx"]["packets"])
        )


def _quietly(node: Pods, text: str) -> None:
    tool(node, "nft", "-f", "-", text=text)


def _interface(node: Pods) -> dict[str, Any]:
    """What `ip` says of the interface at which is denied."""
    command = ["ip", "-n", node.node, "-s", "-j", "link", "show", FACE]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(told)[0]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
