"""What a policy costs new connections and a stream: ours, no policy at all, and the same policy in nftables, measured in turns."""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from api.lab import build
from benchmarks.frames import syn
from benchmarks.pods import FIRST_PORT, PORTS, TARGET, Pods, pods, wait_for
from benchmarks.rows import Aim, Row, compared
from benchmarks.spine import policies
from nodeagent.dataplane.ebpf import probe
from nodeagent.dataplane.ebpf.driver import EbpfDriver

OURS, NONE, NFTABLES = "ours", "no policy", "nftables"
RULES = (10, 20, 40, 80)
ENDPOINTS = (1000, 2000, 4000, 8000)
TURNS, SECONDS = 10, 0.3
STREAM_TURNS, STREAM_SECONDS = 5, 1
RUNS = 200_000
LISTEN = (str(TARGET), str(FIRST_PORT), str(PORTS))
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Contenders:
    """One node with two pods for each, and our driver."""

    nodes: dict[str, Pods]
    driver: EbpfDriver

    def enforce(self, rules: int, endpoints: int = policies.BYSTANDERS) -> None:
        """Put the same policy on all who can have one."""
        policies.enforce(self.driver, self.nodes[OURS], policies.desired(rules, endpoints))
        if NFTABLES in self.nodes:
            policies.enforce_nftables(self.nodes[NFTABLES], rules, endpoints)


@contextmanager
def contenders() -> Iterator[Contenders]:
    """Build all; unbuild all."""
    names = (OURS, NONE, *([NFTABLES] if policies.has_nftables() else []))
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = {name: stack.enter_context(pods()) for name in names}
        driver = EbpfDriver(nodes[OURS].pin_dir, state)
        stack.callback(driver.close)
        for node in nodes.values():
            node.load(2, "serve", *LISTEN)
        yield Contenders(nodes, driver)


def rows(given: Contenders) -> Iterator[Row]:
    """All of it, row by row."""
    missing = "iptables with ipset not measured; " + ("" if NFTABLES in given.nodes else "no nftables here; ")
    by_rules: dict[int, Samples] = {}
    for rules in RULES:
        given.enforce(rules)
        by_rules[rules] = _turns(given)
        yield compared(
            f"new TCP connections pod to pod, {rules} rules", "1/s", by_rules[rules], aim=Aim(least=0.9),
            note=missing + "the last rule is the one that allows",
        )  # fmt: skip
    yield _kept("rate kept from 10 rules to 80", by_rules[RULES[0]], by_rules[RULES[-1]])
    yield from _walks(given)
    by_endpoints: dict[int, Samples] = {}
    for endpoints in ENDPOINTS:
        given.enforce(20, endpoints)
        by_endpoints[endpoints] = _turns(given)
        yield compared(
            f"new TCP connections pod to pod, 20 rules, {endpoints} endpoints", "1/s", by_endpoints[endpoints],
            aim=Aim(least=0.9), note=missing.rstrip("; "),
        )  # fmt: skip
    yield _kept(
        "rate kept from 1,000 endpoints to 8,000", by_endpoints[ENDPOINTS[0]], by_endpoints[ENDPOINTS[-1]]
    )
    given.enforce(20)
    yield _stream(given, missing)


def _turns(given: Contenders) -> Samples:
    samples: Samples = {name: [] for name in given.nodes}
    for turn in range(TURNS):
        for name in _rotated(list(given.nodes), turn):
            words = build.python("benchmarks.load", "connect", *LISTEN, str(SECONDS))
            samples[name].append(float(given.nodes[name].ask(1, *words)))
    return samples


def _stream(given: Contenders, missing: str) -> Row:
    samples: Samples = {name: [] for name in given.nodes}
    port = str(policies.IPERF_PORT)
    for node in given.nodes.values():
        wait_for(node.start(2, "iperf3", "--forceflush", "-s", "-p", port), "listening")
    for turn in range(STREAM_TURNS):
        for name in _rotated(list(given.nodes), turn):
            words = ("iperf3", "-J", "-c", str(TARGET), "-p", port, "-t", str(STREAM_SECONDS))
            body = json.loads(given.nodes[name].ask(1, *words))
            samples[name].append(body["end"]["sum_received"]["bits_per_second"] / 1e9)
    return compared(
        "throughput pod to pod, one TCP stream", "Gb/s", samples, aim=Aim(least=0.95), note=missing + "iperf3, 20 rules",
    )  # fmt: skip


def _walks(given: Contenders) -> Iterator[Row]:
    """The program alone, over a packet that every rule is tried on and that is denied (so nothing is remembered of its connection)."""
    node = given.nodes[OURS]
    frame = syn(policies.STRANGER, TARGET, port=FIRST_PORT)
    figures: dict[bool, list[float]] = {True: [], False: []}
    for rules, is_remembered in product(RULES, figures):
        wanted = policies.desired(rules, is_remembered=is_remembered)
        policies.enforce(given.driver, node, policies.on_loopback(wanted))
        with node.entered():
            answers = [probe.ask(given.driver.generation / "to_endpoint", frame, RUNS) for _ in range(3)]
        if any(answer.action != probe.ACT_SHOT for answer in answers):
            raise RuntimeError("the packet was not denied")
        figures[is_remembered].append(min(answer.nanoseconds for answer in answers))
    note = "BPF_PROG_TEST_RUN of a denied SYN; lists of 40 rules and more keep answers"
    for rules, ours, walked in zip(RULES, figures[True], figures[False], strict=True):
        peers = {"walked every time": walked}
        yield Row(
            name=f"verdict in the kernel, {rules} rules", unit="ns", ours=ours, peers=peers, ratio=ours / walked, note=note
        )  # fmt: skip
    aim = Aim(most=2)
    growth, walked = (values[-1] / values[0] for values in figures.values())
    yield Row(
        name="verdict in the kernel, 80 rules over 10", unit="x", ours=growth, peers={"walked every time": walked},
        ratio=growth / walked, aim=str(aim), met=aim.is_met(growth), note="1 is flat; the aim is about our figure",
    )  # fmt: skip


def _kept(name: str, small: Samples, large: Samples) -> Row:
    """Each beside "no policy" of its own turns, so that what else the machine does cancels."""
    kept = {
        who: _beside_none(large, who) / _beside_none(small, who) for who in (OURS, NFTABLES) if who in small
    }
    aim = Aim(least=0.95)
    ours = kept.pop(OURS)
    ratio = ours / kept[NFTABLES] if kept else None
    note = "1 is flat; rates beside those of no policy; the aim is about our figure"
    return Row(
        name=name, unit="x", ours=ours, peers=kept, ratio=ratio, aim=str(aim), met=aim.is_met(ours), note=note
    )


def _beside_none(samples: Samples, who: str) -> float:
    return statistics.median(a / b for a, b in zip(samples[who], samples[NONE], strict=True))


def _rotated(names: Sequence[str], by: int) -> list[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]
