"""Full builds of all sizes, in turns: time, and memory."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.policy.sizes import SIZES, Size
from benchmarks.rows import Row, grown

TURNS = 5
MEMORY = 500e6 / 2**20
"""500 MB in MiB."""


def rows() -> Iterator[Row]:
    """Turn by turn, all sizes after each other: what disturbs the machine disturbs all alike."""
    runs: dict[str, list[Mapping[str, Any]]] = {size.name: [] for size in SIZES}
    for _ in range(TURNS):
        for size in SIZES:
            runs[size.name].append(_alone(size))
    yield from grown((s.times, _build(s, runs[s.name])) for s in SIZES)
    yield from grown((s.times, _own(s, runs[s.name])) for s in SIZES)
    yield from grown((s.times, _whole(s, runs[s.name])) for s in SIZES)


def _alone(size: Size) -> Mapping[str, Any]:
    words = [sys.executable, "-m", "benchmarks.policy.alone", *size.words]
    found: Mapping[str, Any] = json.loads(
        subprocess.run(words, capture_output=True, text=True, check=True).stdout
    )
    return found


def _middle(runs: list[Mapping[str, Any]], name: str) -> float:
    return statistics.median(float(run[name]) for run in runs)


def _build(size: Size, runs: list[Mapping[str, Any]]) -> Row:
    seconds = _middle(runs, "seconds")
    aim = {"aim": "at most 3 s", "met": seconds <= 3} if size.is_aim else {}
    least, most = (pick(float(run["seconds"]) for run in runs) for pick in (min, max))
    endpoints = size.identities * size.per_identity
    return Row(
        name=f"{size.name}: full build, {endpoints:,} endpoints, {size.identities:,} identities, {size.policies:,} policies",
        unit="s", ours=seconds,
        note=f"{least:.3g} to {most:.3g} s in {TURNS} processes; {_middle(runs, 'collecting'):.2g} s of it Python's collector; {runs[0]['shape']}",
        **aim,
    )  # fmt: skip


def _own(size: Size, runs: list[Mapping[str, Any]]) -> Row:
    return Row(
        name=f"{size.name}: memory of the compiler alone", unit="MiB", ours=_middle(runs, "compiler"), note="RSS after less RSS before"
    )  # fmt: skip


def _whole(size: Size, runs: list[Mapping[str, Any]]) -> Row:
    peak = _middle(runs, "peak")
    aim = {"aim": "at most 500 MB", "met": peak <= MEMORY} if size.is_aim else {}
    note = f"the highest ever; {_middle(runs, 'world'):.0f} MiB before the build, Python itself included"
    return Row(
        name=f"{size.name}: memory of a process with the world and the compiler", unit="MiB", ours=peak, note=note, **aim
    )  # fmt: skip
