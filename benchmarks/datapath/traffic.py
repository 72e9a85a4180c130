"""What a policy costs real packets, pod to node to pod: new connections, a stream, small datagrams, a request and its answer, in turns."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.datapath.contenders import (
    ECHO_PORT,
    IPERF_PORT,
    NEAR,
    NONE,
    OURS,
    Contenders,
    missing,
    note_of,
)
from benchmarks.datapath.worlds import SIZES, World, rules_of, world
from benchmarks.pods import FIRST_PORT, PORTS, TARGET, on
from benchmarks.rows import Aim, Row, compared, grown
from benchmarks.spine.flips import percentile

OWN_LISTS = (100, 1_000)
"""Rules on the measured endpoint itself, at SIZE_OF_LISTS peers; with ten it is one of the sizes."""
SIZE_OF_LISTS = 10_000
STREAMED = (SIZES[0], SIZE_OF_LISTS, SIZES[-1])
"""Sizes at which a stream is measured too: a second each time."""
TURNS, STREAM_TURNS = 8, 7
RATE_SECONDS, TRIP_SECONDS, STREAM_SECONDS = 0.25, 0.15, 1
DATAGRAMS, DATAGRAM_BYTES = 100_000, 18
"""18 bytes: the smallest frame of Ethernet."""
RATE, SMALL, P50, P99, STREAM = (
    "new TCP connections",
    "small datagrams that arrive",
    "request and answer, p50",
    "request and answer, p99",
    "one TCP stream",
)
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of figure is told. `aim`: about ours over no policy."""

    unit: str
    is_rate: bool = True
    aim: Aim | None = None


KINDS = {
    RATE: Kind("1/s", aim=Aim(least=0.97)),
    SMALL: Kind("1/s"),
    P50: Kind("us", is_rate=False),
    P99: Kind("us", is_rate=False),
    STREAM: Kind("Gb/s", aim=Aim(least=1.0)),
}


def rows(given: Contenders) -> Iterator[Row]:
    """All of it: by size, then by the length of the measured endpoint's own list, then the least lead over any peer."""
    leads: dict[str, dict[str, float]] = {}
    by_kind: dict[str, list[tuple[float, Row]]] = {kind: [] for kind in KINDS}
    for size in SIZES:
        own = world(size)
        what = f"{size:,} peers, {rules_of(own):,} rules on the node"
        for kind, row in _measured(given, own, what, size in STREAMED, leads):
            by_kind[kind].append((size, row))
    for rows_of_kind in by_kind.values():
        yield from grown(rows_of_kind)
    for rules in OWN_LISTS:
        what = f"{rules} rules on the endpoint, {SIZE_OF_LISTS:,} peers"
        own = world(SIZE_OF_LISTS, rules)
        yield from (row for _, row in _measured(given, own, what, rules == OWN_LISTS[-1], leads))
    for kind, by_case in leads.items():
        if by_case:
            case = min(by_case, key=by_case.__getitem__)
            yield Row(
                name=f"{kind}: least lead over any peer", unit="x", ours=by_case[case], aim=str(Aim(least=1)), met=by_case[case] >= 1, note=case
            )  # fmt: skip


def _measured(
    given: Contenders, own: World, what: str, is_streamed: bool, leads: dict[str, dict[str, float]]
) -> Iterator[tuple[str, Row]]:
    """One world's rows, by kind."""
    given.enforce(own)
    figures = _turns(given)
    if is_streamed:
        figures[STREAM] = _streams(given)
    for kind, samples in figures.items():
        lead = leads_of(samples, KINDS[kind].is_rate)
        leads.setdefault(kind, {}).update({f"{name}, {what}": by for name, by in lead.items()})
        notes = [f"over {name} {by:.2f}" for name, by in lead.items()]
        if kind == RATE:
            notes.append("the endpoint's last rule is the one that allows")
        if absent := note_of(missing()):
            notes.append(absent)
        row = compared(f"{kind}, {what}", KINDS[kind].unit, samples, aim=KINDS[kind].aim)
        yield kind, replace(row, note="; ".join(notes))


def leads_of(samples: Mapping[str, Sequence[float]], is_rate: bool) -> dict[str, float]:
    """How many times as good ours is as each peer that enforces something: the median of each turn's own ratio."""
    found = {}
    for name, theirs in samples.items():
        if name not in (OURS, NONE):
            ratios = (own / other for own, other in zip(samples[OURS], theirs, strict=True))
            ratio = statistics.median(ratios)
            found[name] = ratio if is_rate else 1 / ratio
    return found


def _turns(given: Contenders) -> dict[str, Samples]:
    figures: dict[str, Samples] = {
        kind: {name: [] for name in given.nodes} for kind in (RATE, SMALL, P50, P99)
    }
    for turn in range(TURNS):
        names = rotated(list(given.nodes), turn)
        for name in names:
            made = given.ask(name, "rate", str(TARGET), FIRST_PORT, PORTS, RATE_SECONDS)
            figures[RATE][name].append(made)
        for name in names:
            trips = given.ask(name, "trips", str(TARGET), ECHO_PORT, TRIP_SECONDS)
            for kind, share in ((P50, 0.5), (P99, 0.99)):
                figures[kind][name].append(percentile(trips, share) * 1e6)
        for name in names:
            figures[SMALL][name].append(_datagrams(given, name))
    return figures


def _datagrams(given: Contenders, name: str) -> float:
    words = ("-u", "-b", "0", "-l", str(DATAGRAM_BYTES), "-k", str(DATAGRAMS))
    told = _iperf(given, name, *words)["sum"]
    return float((told["packets"] - told["lost_packets"]) / told["seconds"])


def _streams(given: Contenders) -> Samples:
    samples: Samples = {name: [] for name in given.nodes}
    for turn in range(STREAM_TURNS):
        for name in rotated(list(given.nodes), turn):
            told = _iperf(given, name, "-t", str(STREAM_SECONDS))["sum_received"]
            samples[name].append(told["bits_per_second"] / 1e9)
    return samples


def _iperf(given: Contenders, name: str, *words: str) -> dict[str, dict[str, float]]:
    command = (*on(NEAR), "iperf3", "-J", "-c", str(TARGET), "-p", str(IPERF_PORT), *words)
    end: dict[str, dict[str, float]] = json.loads(given.nodes[name].ask(1, *command))["end"]
    return end


def rotated(names: Sequence[str], by: int) -> list[str]:
    """The same names, begun at another: whoever comes first in a turn has no lasting luck."""
    by %= len(names)
    return [*names[by:], *names[:by]]
