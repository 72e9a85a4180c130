"""What one change costs a node of a fleet, at 1x to 8x and at the size of Felix's own benchmark."""

import gc
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.policy import fleet, kinds
from benchmarks.policy.sizes import FELIX_BAR, SIZES, Size
from benchmarks.rows import Aim, Row, grown
from federation.compiler.change import Change, difference
from federation.compiler.compiler import Compiler
from federation.kinds.endpoint import Endpoint
from federation.policy.world import World, nets_of
from federation.resources.codec import decode

TURNS = 200
UPDATES = 5_000
Growing = dict[str, list[tuple[float, Row]]]
"""Rows by what is measured, each with its size."""


def rows() -> Iterator[Row]:
    """All rows, one kind of change after the other."""
    found: Growing = {}
    for size in (*SIZES, FELIX_BAR):
        _measure(size, found)
    for each in found.values():
        yield from grown(each)


def local(endpoint: Endpoint) -> bool:
    """Whether it is on our node."""
    return endpoint.spec.node == fleet.HOME


def _measure(size: Size, found: Growing) -> None:
    world = fleet.sized(size.identities, size.per_identity, size.policies)
    compiler = Compiler(local)
    compiler.apply(difference(World(), world))
    gc.collect()
    if size is not FELIX_BAR:
        for what, change in kinds.of(world, size.policies).items():
            found.setdefault(what, []).append((size.times, _change(size, what, compiler, change)))
        for row in _large_set(compiler, size.is_aim):
            named = replace(row, name=f"{size.name}: {row.name}")
            found.setdefault(row.name, []).append((size.times, named))
    found.setdefault("updates", []).append((size.times, _sustained(size, world, compiler)))


def _change(size: Size, what: str, compiler: Compiler, change: kinds.Changes) -> Row:
    taken = []
    for n in range(TURNS):
        for each in change(n):
            taken.append(_apply(compiler, each) * 1000)
    middle, worst = statistics.median(taken), _worst(taken)
    is_small = not what.startswith(kinds.OF_ALL)
    note = f"p99 {worst:.2f} ms" + (
        "" if is_small else "; touches all of the world, so that no aim is about it"
    )
    return Row(
        name=f"{size.name}: {what}",
        unit="ms",
        ours=middle,
        note=note,
        **(_aims(middle, worst) if size.is_aim and is_small else {}),
    )


def _aims(middle: float, worst: float) -> dict[str, Any]:
    return {"aim": "median 1 ms, p99 10 ms", "met": middle <= 1 and worst <= 10}


def _apply(compiler: Compiler, change: Change) -> float:
    began = time.perf_counter()
    compiler.apply(change)
    return time.perf_counter() - began


def _worst(taken: list[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


def _large_set(compiler: Compiler, has_aim: bool) -> Iterator[Row]:
    """One prefix more or less among many, of a set that every local rule list asks for: as a change, and as a document."""
    whole = tuple(fleet.nets(fleet.LARGE))
    compiler.apply(kinds.set_of(whole))
    taken, decoding, all_of_it = [], [], []
    for n in range(TURNS // 4):
        cut = n * 1_999 % fleet.LARGE
        for nets in (whole[:cut] + whole[cut + 1 :], whole):
            taken.append(_apply(compiler, kinds.set_of(nets)) * 1000)
    for n in range(TURNS // 40):
        text = json.dumps(kinds.document_of(whole[: n * 1_999] + whole[n * 1_999 + 1 :]))
        began = time.perf_counter()
        decoded = nets_of(decode(json.loads(text)))
        decoding.append(time.perf_counter() - began)
        all_of_it.append(decoding[-1] + _apply(compiler, Change(network_sets={fleet.BLOCKED: decoded})))
    name = f"a network set of {fleet.LARGE:,} prefixes changed by one"
    middle, worst = statistics.median(taken), _worst(taken)
    aims = _aims(middle, worst) if has_aim else {}
    yield Row(name=name, unit="ms", ours=middle, note=f"p99 {worst:.2f} ms; decoded before", **aims)
    note = f"{statistics.median(decoding):.2g} s of it to read and check the JSON; at most {max(all_of_it):.2g} s"
    yield Row(name=f"{name}, from its document", unit="s", ours=statistics.median(all_of_it), note=note)


def _sustained(size: Size, world: World, compiler: Compiler) -> Row:
    """Endpoints one after the other, each a change of its own: every tenth is local, every third gets other labels."""
    make = kinds.updates(world)
    changes = [make(n) for n in range(UPDATES)]
    taken = [_apply(compiler, change) for change in changes]
    rate, aim = UPDATES / sum(taken), Aim(least=1000)
    is_bar = size.name in ("8x", FELIX_BAR.name) or size.times == SIZES[-1].times
    aims = {"aim": str(aim), "met": aim.is_met(rate)} if is_bar else {}
    return Row(
        name=f"{size.name}: updates of endpoints one by one", unit="1/s", ours=rate,
        note=f"{UPDATES:,} of them; p99 {_worst(taken) * 1000:.2f} ms; every tenth local, every third with other labels", **aims,
    )  # fmt: skip
