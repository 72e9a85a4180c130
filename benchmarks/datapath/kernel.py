"""Nanoseconds of a verdict in the kernel (BPF_PROG_TEST_RUN), above an empty program, beside the look-ups it cannot do without.

Two ways to ask: the same packet many times (warm: all in the processor's caches), and another peer each time (at random: the entries of a
large map are not in them). A packet of a new connection that is denied is never remembered: it is new each time it comes.
"""

import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.datapath import primitives, worlds
from benchmarks.datapath.contenders import OURS, Contenders
from benchmarks.datapath.worlds import BYSTANDERS, OPEN, PEERS, world
from benchmarks.frames import ACK, SYN, segment, syn
from benchmarks.pods import SOURCE, TARGET
from benchmarks.rows import Aim, Row, grown
from benchmarks.spine import policies
from federation.errors import DriverError
from nodeagent.dataplane.ebpf import probe
from nodeagent.drivers import DesiredPolicy

SIZES = (10, 1_000, 100_000)
LISTS = (1, 10, 100, 1_000)
SIZE_OF_LISTS = 10_000
CACHED_LIST = 100
"""Rules of a list that keeps its answers."""
FEWER_NETWORKS = 30_000
"""For when ours has no room for as many as there are peers."""
LOOPBACK = "lo"
CLOSED_PORT = OPEN[1] + 1
"""Only the last line's group may come there."""
ROUNDS, SAMPLE, FIRST_SOURCE_PORT = 3, 1_000, 20_000
WARM, AT_RANDOM = "warm", "at random"
NEW = ("endpoint", "no_connection", "address")
CACHED = (*NEW, "connection")
"""The cache of verdicts is a map like that of connections."""
ALONE, READ = "look-ups alone", "and headers read"
FLAT = Aim(most=1.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Packets that our program is asked about, and what it has to look up for them: names of primitive programs, and rules."""

    name: str
    frames: Sequence[bytes]
    needs: Sequence[str]
    is_allowed: bool = False
    rules: int = 0
    ways: Sequence[str] = (WARM, AT_RANDOM)
    aim: Aim | None = None
    """About ours over the look-ups alone, warm: at random each primitive program pays anew for what a whole one pays once. A case with an
    aim is to be flat too."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Our programs on the loopback interface of our node, which packets of test runs come from; and the primitive ones."""

    given: Contenders
    primitives: Path

    @property
    def program(self) -> Path:
        """What judges packets that come to the target."""
        return self.given.driver.generation / "to_endpoint"

    def enforce(self, wanted: DesiredPolicy) -> None:
        """Put a policy on ours alone."""
        policies.enforce(self.given.driver, self.given.nodes[OURS], wanted)


def rows(given: Contenders) -> Iterator[Row]:
    """All of it: by the length of the endpoint's list, then by size."""
    node = given.nodes[OURS]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pins = node.pin_dir.with_name(f"{node.name}-primitives")
        bench = Bench(given, stack.enter_context(primitives.loaded(pins, work)))
        yield from _by_list(bench)
        yield from _by_size(bench)


def _by_list(bench: Bench) -> Iterator[Row]:
    peers = [PEERS + n for n in range(SIZE_OF_LISTS)]
    primitives.fill(bench.primitives / "fill", [_stranger(peer) for peer in peers])
    for rules in LISTS:
        bench.enforce(unremembered(worlds.desired(world(SIZE_OF_LISTS, rules), LOOPBACK)))
        frames = _some([_stranger(peer) for peer in peers_outside(rules - 1, SIZE_OF_LISTS, rules)])
        case = Case(
            name=f"new, verdict walked, {rules} rules",
            frames=frames,
            needs=(*NEW, "identity_row"),
            rules=rules,
        )
        for row in _measured(bench, case):
            aim = Aim(most=3000)
            is_last = rules == LISTS[-1]
            note = "; ".join([row.note, *(["the aim is about our figure"] if is_last else [])])
            met = aim.is_met(row.ours) if is_last else None
            yield replace(row, aim=str(aim) if is_last else "", met=met, note=note)


def _by_size(bench: Bench) -> Iterator[Row]:
    by_name: dict[str, list[tuple[float, Row]]] = {}
    for size in SIZES:
        number, refused = _enforced(bench, size)
        peers = [_stranger(peer) for peer in peers_outside(CACHED_LIST - 1, size, CACHED_LIST)]
        nets = [_stranger(net.network_address + 1) for net in worlds.networks(number)]
        primitives.fill(bench.primitives / "fill", peers)
        primitives.fill(bench.primitives / "fill_prefix", nets)
        cases = (
            Case(
                name="established", frames=_established(bench), needs=("endpoint", "connection"), is_allowed=True, aim=Aim(most=1.5)
            ),
            Case(name="new, verdict cached", frames=_some(peers), needs=CACHED, aim=Aim(most=1.5)),
            Case(name="new, verdict cached, peer in a prefix", frames=_some(nets), needs=(*CACHED, "prefix")),
            Case(
                name="new and allowed: its connection is written", frames=_openings(), needs=CACHED, is_allowed=True, ways=(AT_RANDOM,)
            ),
        )  # fmt: skip
        for case in cases:
            for row in _measured(bench, case):
                name = f"{row.name}, {size:,} peers, {number:,} networks"
                by_name.setdefault(row.name, []).append(
                    (size, replace(row, name=name, note=row.note + refused))
                )
    for name, of_one in by_name.items():
        yield from grown(of_one)
        if of_one[0][1].aim:
            growth = of_one[-1][1].ours / of_one[0][1].ours
            yield Row(
                name=f"{name}: {SIZES[-1]:,} over {SIZES[0]}", unit="x", ours=growth, aim=str(FLAT), met=FLAT.is_met(growth), note="1 is flat"
            )  # fmt: skip


def _enforced(bench: Bench, size: int) -> tuple[int, str]:
    """A world of so many peers, and as many networks as ours takes: how many, and why not more. None of the networks is the target's."""
    refused = ""
    for number in (size, FEWER_NETWORKS):
        nets = worlds.networks(number)
        wanted = worlds.desired(world(size, CACHED_LIST, networks=nets, network_user=BYSTANDERS[0]), LOOPBACK)
        try:
            bench.enforce(wanted)
        except DriverError as error:
            refused = f"; {number:,} networks: {error.message}"
            continue
        return number, refused
    raise RuntimeError(f"not enforced{refused}")


def _measured(bench: Bench, case: Case) -> Iterator[Row]:
    """Ours and the primitives in turns; the least of what is warm, the median of what is at random."""
    names = ["empty", "headers", "list", *case.needs]
    with bench.given.nodes[OURS].entered():
        if case.ways != (AT_RANDOM,):
            primitives.spread(
                bench.program, case.frames, case.is_allowed
            )  # answers that are kept are kept now
        for way in case.ways:
            found: dict[str, list[float]] = {name: [] for name in ("ours", *names)}
            for turn in range(ROUNDS):
                for name in found:
                    path = bench.program if name == "ours" else bench.primitives / name
                    is_allowed = case.is_allowed if name == "ours" else None
                    if way == WARM:
                        found[name].append(primitives.warm(path, case.frames[0], is_allowed))
                    else:
                        frames = case.frames[turn::ROUNDS]
                        found[name].append(primitives.spread(path, frames, is_allowed))
            pick = min if way == WARM else statistics.median
            yield told(case, way, {name: pick(values) for name, values in found.items()})


def told(case: Case, way: str, figures: Mapping[str, float]) -> Row:
    """A row of one case. `figures`: nanoseconds of ours and of each primitive program, an empty one's in them."""
    ours = figures["ours"] - figures["empty"]
    per_rule = figures["list"] - figures["headers"]
    alone = sum(figures[name] - figures["headers"] for name in case.needs)
    if way == WARM:  # rules lie side by side: at random is only the first of them
        alone += case.rules * max(per_rule, 0)
    aim = case.aim if way == WARM else None
    peers = {ALONE: alone, READ: alone + figures["headers"] - figures["empty"]}
    return Row(
        name=f"{case.name}, {way}", unit="ns", ours=ours, peers=peers, ratio=ours / alone, aim=str(aim or ""),
        met=aim.is_met(ours / alone) if aim else None,
        note=" + ".join(case.needs) + (f" + {case.rules} rules" if case.rules else ""),
    )  # fmt: skip


def unremembered(wanted: DesiredPolicy) -> DesiredPolicy:
    """The same verdicts from a list that keeps no answers: its first rule asks for source ports, which every packet has."""
    number = next(a.class_number for a in wanted.attachments if a.interface == LOOPBACK)
    classes = list(wanted.tables.classes)
    (first, *others), egress = classes[number]
    classes[number] = ((replace(first, source_ports=(1, 65535)), *others), egress)
    return replace(wanted, tables=replace(wanted.tables, classes=tuple(classes)))


def peers_outside(group: int, size: int, own_rules: int) -> list[IPv4Address]:
    """Peers of a world that are not in that group."""
    members = world(size, own_rules).members
    return sorted(a for n, addresses in enumerate(members) for a in addresses if n != group and a != SOURCE)


def _stranger(peer: IPv4Address) -> bytes:
    return syn(peer, TARGET, port=CLOSED_PORT)


def _some(frames: Sequence[bytes]) -> Sequence[bytes]:
    return random.Random(1).choices(frames, k=ROUNDS * SAMPLE)


def _established(bench: Bench) -> Sequence[bytes]:
    """Segments of connections that were opened before our programs' eyes, both ways."""
    answering = bench.program.with_name("from_endpoint")
    frames = []
    with bench.given.nodes[OURS].entered():
        for port in range(FIRST_SOURCE_PORT, FIRST_SOURCE_PORT + ROUNDS * SAMPLE):
            client, server = (SOURCE, port), (TARGET, OPEN[0])
            frames.append(segment(client, server, ACK))
            for program, frame in (
                (bench.program, segment(client, server, SYN)),
                (answering, segment(server, client, SYN | ACK)),
                (bench.program, frames[-1]),
            ):
                if probe.ask(program, frame).action == probe.ACT_SHOT:
                    raise RuntimeError("an allowed connection was not let in")
    primitives.fill(bench.primitives / "fill", frames)
    return frames


def _openings() -> Sequence[bytes]:
    """Of connections that nobody has seen."""
    first = FIRST_SOURCE_PORT + ROUNDS * SAMPLE
    return [syn(SOURCE, TARGET, port, OPEN[0]) for port in range(first, first + ROUNDS * SAMPLE)]
