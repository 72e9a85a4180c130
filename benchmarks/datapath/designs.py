"""Designs that lost, beside the ones that the datapath has: nanoseconds of a look-up above reading the headers, by BPF_PROG_TEST_RUN. `python -m
benchmarks.datapath.designs PIN_FOLDER WORK_FOLDER` compiles designs.c in a child process."""

import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.datapath import primitives
from benchmarks.datapath.contenders import OURS, Contenders
from benchmarks.frames import syn
from benchmarks.pods import TARGET
from benchmarks.rows import Row, grown
from nodeagent.dataplane.ebpf import bpf, loader

SOURCE = Path(__file__).parent / "designs.c"
MAPS = ("inner", "outer", "bank")
PROGRAMS = (
    "headers", "exact", "exact_packed", "exact_lru", "prefixes_alone", "exact_then_prefix", "prefix_of_nets", "answer_shared", "answer_percpu",
    "with_bank", "map_in_map", "fill",
)  # fmt: skip
SIZES = (10, 1_000, 100_000)
ROUNDS, SAMPLE, SWAPS, LEAST_AT_RANDOM = 5, 200, 50, 1_000
WARM, AT_RANDOM = "warm", "at random"
PEERS = IPv4Address("10.128.0.0")
COMPARED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "address to identity, exact (ours: a hash of 16 bytes)": (
        "exact", {"prefixes alone (LPM)": "prefixes_alone", "IPv4 packed in 4 bytes": "exact_packed", "LRU hash": "exact_lru"},
    ),
    "address to identity, in a prefix (ours: hash, then LPM)": ("exact_then_prefix", {"LPM alone": "prefix_of_nets"}),
    "answer of a pair that was asked before (ours: a shared LRU hash)": ("answer_shared", {"LRU hash of each processor": "answer_percpu"}),
    "policy that can be switched (ours: a bank in the key)": ("with_bank", {"map in map": "map_in_map"}),
}  # fmt: skip
"""What is compared: our design's program, and those of others, of which the first is the ratio's."""


def main(pin_folder: Path, work_folder: Path) -> None:
    """Compile, load, pin."""
    primitives.pinned(SOURCE, MAPS, PROGRAMS, pin_folder, work_folder)


def rows(given: Contenders) -> Iterator[Row]:
    """All of it."""
    node = given.nodes[OURS]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pins = node.pin_dir.with_name(f"{node.name}-designs")
        stack.enter_context(primitives.loaded(pins, work, "benchmarks.datapath.designs"))
        outer = bpf.PinnedMap(pins / "outer", 4, 4)
        inner = bpf.open_pin(pins / "inner")
        outer.update({struct.pack("=I", 0): struct.pack("=I", inner)})
        with node.entered():
            yield from _by_size(pins)
            yield _step(pins)
            yield _swap(pins, outer, inner)


def _by_size(pins: Path) -> Iterator[Row]:
    by_name: dict[str, list[tuple[float, Row]]] = {}
    for size in SIZES:
        frames = [syn(PEERS + number * 16, TARGET) for number in range(size)]  # each in a network of its own
        primitives.fill(pins / "fill", frames)
        for what, (own, others) in COMPARED.items():
            for way in (WARM, AT_RANDOM) if size >= LEAST_AT_RANDOM else (WARM,):
                figures = _measured(pins, [own, *others.values()], frames, way)
                peers = {name: figures[program] for name, program in others.items()}
                name = f"design: {what}, {way}"
                row = Row(
                    name=f"{name}, {size:,} entries", unit="ns", ours=figures[own], peers=peers, ratio=figures[own] / next(iter(peers.values())),
                )  # fmt: skip
                by_name.setdefault(name, []).append((size, row))
    for of_one in by_name.values():
        yield from grown(of_one)


def _measured(pins: Path, programs: Sequence[str], frames: Sequence[bytes], way: str) -> dict[str, float]:
    """Above reading the headers; in turns. At random each run has packets of its own: what one has looked up the next would find in the caches."""
    names = ("headers", *programs)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(ROUNDS):
        for place, name in enumerate(names):
            if way == WARM:
                found[name].append(primitives.warm(pins / name, frames[0], is_allowed=True))
            else:
                own = frames[turn * len(names) + place :: ROUNDS * len(names)][:SAMPLE]
                found[name].append(primitives.spread(pins / name, own, is_allowed=True))
    pick = min if way == WARM else statistics.median
    least = pick(found["headers"])
    return {name: max(pick(found[name]) - least, 0.1) for name in programs}


def _step(pins: Path) -> Row:
    """From one program to the next: by hand, for bcc makes no calls between functions."""
    pieces: dict[str, bytes] = {"inlined": _code((0xB7, 0, 0, 0), (0x95, 0, 0, 0))}
    pieces["a function's call (BPF to BPF)"] = _code(
        (0x85, 0x10, 0, 1), (0x95, 0, 0, 0), (0xB7, 0, 0, 0), (0x95, 0, 0, 0)
    )
    table = bpf.make_map("steps", 3, 4, 4, 1, 0)
    target = bpf.load_program("target", loader.SCHED_CLS, pieces["inlined"])
    bpf.pin(table, pins / "steps")
    steps = bpf.PinnedMap(pins / "steps", 4, 4)
    steps.update({struct.pack("=I", 0): struct.pack("=I", target)})
    pieces["ours"] = _code(
        (0x18, 0x12, 0, table),
        (0, 0, 0, 0),
        (0xB7, 3, 0, 0),
        (0x85, 0, 0, 12),
        (0xB7, 0, 0, 2),
        (0x95, 0, 0, 0),
    )
    figures = {}
    for number, (name, code) in enumerate(pieces.items()):
        program = bpf.load_program(f"step{number}", loader.SCHED_CLS, code)
        bpf.pin(program, pins / f"step{number}")
        frame = syn(PEERS, TARGET)
        figures[name] = min(
            primitives.warm(pins / f"step{number}", frame, is_allowed=True) for _ in range(ROUNDS * 3)
        )
        os.close(program)
    steps.close()
    for descriptor in (table, target):
        os.close(descriptor)
    ours = figures.pop("ours")
    return Row(
        name="design: step into the walk of rules (ours: a tail call), the empty program in it", unit="ns", ours=ours, peers=figures, ratio=ours / figures["inlined"],
    )  # fmt: skip


def _swap(pins: Path, outer: bpf.PinnedMap, inner: int) -> Row:
    """Once all is written: the write that makes it the policy. The kernel waits for all readers of the outer map."""
    array = bpf.make_map("settings", 2, 4, 8, 1, 0)
    bpf.pin(array, pins / "settings")
    os.close(array)
    plain = bpf.PinnedMap(pins / "settings", 4, 8)
    swaps, writes = [], []
    key = struct.pack("=I", 0)
    for number in range(SWAPS):
        began = time.perf_counter()
        outer.update({key: struct.pack("=I", inner)})
        swaps.append(time.perf_counter() - began)
        began = time.perf_counter()
        plain.update({key: struct.pack("=Q", number)})
        writes.append(time.perf_counter() - began)
    plain.close()
    os.close(inner)
    outer.close()
    ours, theirs = (statistics.median(times) * 1e6 for times in (writes, swaps))
    return Row(
        name="design: switch to what was written (ours: one entry of an array)", unit="us", ours=ours, peers={"map in map": theirs}, ratio=ours / theirs
    )  # fmt: skip


def _code(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
