"""Worlds of Cilium's policies, all of whose local subjects one node has: time, entries, and the same verdicts."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from benchmarks.policy import verdicts
from benchmarks.policy.worlds import Input, given, made
from benchmarks.rows import Row, grown
from federation.compiler.compiler import compile_tables
from federation.policy import model
from federation.policy.parties import Party, party_of_endpoint
from federation.policy.resolution import tiers_of_all
from federation.policy.tables import Direction, Tables
from federation.policy.world import World

T = TypeVar("T")
TURNS = 9
CILIUM = {(1000, 200): (0.28, "0.28-0.52 s", 34_801), (5000, 1000): (11.4, "11.4-13.3 s", 2_211_971)}
"""Cilium 1.21.0-dev on such a machine, not in this run: time to compile (its best, and all), and entries of its policy maps."""
TIME, ENTRIES = 10, 50
"""How many times less ours should be."""
SAMPLE = 20_000


def rows() -> Iterator[Row]:
    """All rows."""
    for size in CILIUM:
        yield from _given(size)
    yield from grown(_growing())


def _given(size: tuple[int, int]) -> Iterator[Row]:
    """Whole worlds; beside it, selecting subjects by asking every policy of every subject."""
    best, published, entries = CILIUM[size]
    case = given(*size)
    _set_aside()
    name = f"{len(case.local)} local identities x {case.policies} policies ({case.source})"
    seconds, tables = timed(lambda: compile_tables(case.world, case.local))
    yield Row(
        name=f"compile {name}", unit="s", ours=seconds, aim=f"at most {best / TIME:g}", met=seconds <= best / TIME,
        note=f"Cilium's engine, published: {published}",
    )  # fmt: skip
    parts = entries_of(tables)
    whole, most = sum(parts.values()), entries / ENTRIES
    yield Row(
        name=f"entries to write for {name}", unit="", ours=whole, aim=f"at most {most:,.0f}", met=whole <= most,
        note=", ".join(f"{count:,} {what}" for what, count in parts.items())
        + f"; Cilium writes {entries:,} entries of policy maps (published), and its addresses beside",
    )  # fmt: skip
    yield from _selecting(case, name)
    yield _verdicts(case, tables, name)


def entries_of(tables: Tables) -> dict[str, int]:
    """What a kernel holds. Lists stand once, however many classes and directions have them."""
    lists = {lines for pair in tables.classes for lines in pair}
    return {
        "rules": sum(map(len, lists)), "rows of identities": len(tables.identity_rows), "prefixes": len(tables.prefix_rows),
        "subjects": len(tables.subjects),
    }  # fmt: skip


def _selecting(case: Input, name: str) -> Iterator[Row]:
    parties = [party_of_endpoint(case.world, case.world.endpoints[key]) for key in case.local[:200]]
    whole, _ = timed(lambda: tiers_of_all(case.world, parties, Direction.INGRESS))
    each, _ = timed(lambda: [asked_one_by_one(case.world, one) for one in parties])
    yield Row(
        name=f"select the policies of 200 of {name}", unit="ms", ours=whole * 1000, peers={"each selector of each subject": each * 1000},
        ratio=whole / each, aim="at most 0.5", met=whole / each <= 0.5,
    )  # fmt: skip


def _verdicts(case: Input, tables: Tables, name: str) -> Row:
    said = verdicts.compare(case, tables, SAMPLE)
    return Row(
        name=f"verdicts of tables that differ, {name}", unit="", ours=said.of_engine + said.of_documents, aim="at most 0",
        met=not said.of_engine + said.of_documents,
        note=f"{said.asked:,} asked at random, {said.allowed:,} allowed: {said.of_engine} differ from the engine's, "
        f"{said.of_documents} from what the documents say read plainly",
    )  # fmt: skip


def asked_one_by_one(world: World, subject: Party) -> list[model.Policy]:
    """What one would write first."""
    return [
        policy
        for policy in world.policies
        if policy.ingress is not None
        and not (policy.subject.kinds or subject.kinds).isdisjoint(subject.kinds)
        and (policy.subject.selector is None or policy.subject.selector.matches(subject.labels))
    ]


def _growing() -> Iterator[tuple[float, Row]]:
    """1x, 2x, 4x, 8x of everything, in turns."""
    cases = {factor: made(625 * factor, 125 * factor) for factor in (1, 2, 4, 8)}
    _set_aside()
    taken: dict[int, list[float]] = {factor: [] for factor in cases}
    for _ in range(TURNS):
        for factor, case in cases.items():
            seconds, _ = timed(lambda case=case: compile_tables(case.world, case.local), 1)  # type: ignore[misc]
            taken[factor].append(seconds)
    for factor in cases:
        yield (
            factor,
            Row(
                name=f"compile {factor}x: {625 * factor} identities, {125 * factor} policies", unit="s",
                ours=statistics.median(taken[factor]), note=f"best {min(taken[factor]):.3g} s; pairs grow {factor**2}-fold",
            ),
        )  # fmt: skip


def _set_aside() -> None:
    """Python's collector walks all that there is, now and then, and one size would pay for the worlds of the others. What a build makes
    is still walked."""
    gc.collect()
    gc.freeze()


def timed(call: Callable[[], T], turns: int = TURNS) -> tuple[float, T]:
    """The median seconds of some calls, and what the last gave."""
    seconds = []
    for _ in range(turns):
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result
