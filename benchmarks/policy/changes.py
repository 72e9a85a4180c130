"""What one change costs a node of a fleet, at 1x to 8x and at the size of Felix's own benchmark."""

import gc
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from benchmarks.policy import fleet
from benchmarks.rows import Row
from federation.compiler.change import Change, difference
from federation.compiler.compiler import Compiler
from federation.identities import IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.policy.world import LabelledNets, World

TURNS = 200
FACTORS = (1, 2, 4, 8)
PREFIXES = 100_000
Changes = Callable[[int], tuple[Change, Change]]
"""The n-th change, and what undoes it."""


def main_rows() -> Iterator[Row]:
    """All rows."""
    first: dict[str, float] = {}
    for factor in FACTORS:
        world = fleet.fleet(factor)
        yield from _of(f"{factor}x", world, fleet.POLICIES * factor, first, factor)
        del world
    felix = fleet.sized(50_000, 5, 10_000)
    yield from _of("250k endpoints x 10k policies", felix, 10_000, first, 20)


def local(endpoint: Endpoint) -> bool:
    """Whether it is on our node."""
    return endpoint.spec.node == fleet.HOME


def _of(name: str, world: World, policies: int, first: dict[str, float], factor: int) -> Iterator[Row]:
    change = difference(World(), world)
    compiler = Compiler(local)
    gc.collect()
    began = time.perf_counter()
    compiler.apply(change)
    seconds = time.perf_counter() - began
    first.setdefault("build", seconds)
    aim = {"aim": "at most 3 s", "met": seconds <= 3} if factor == 8 else {}
    growth = f"{seconds / first['build']:.1f} times 1x, the world is {factor} times as large"
    yield Row(
        name=f"{name}: full build, {len(world.endpoints):,} endpoints, {len(world.identities):,} identities, {policies:,} policies",
        unit="s", ours=seconds, note=growth, **aim,
    )  # fmt: skip
    for what, make in _kinds(world, policies).items():
        taken = []
        for n in range(TURNS):
            there, back = make(n)
            for each in (there, back):
                began = time.perf_counter()
                compiler.apply(each)
                taken.append((time.perf_counter() - began) * 1000)
        middle, worst = statistics.median(taken), sorted(taken)[int(len(taken) * 0.99)]
        first.setdefault(what, middle)
        aims = {"aim": "median 1 ms, p99 10 ms", "met": middle <= 1 and worst <= 10} if factor == 8 else {}
        note = f"p99 {worst:.2f} ms; median {middle / first[what]:.1f} times 1x"
        yield Row(name=f"{name}: {what}", unit="ms", ours=middle, note=note, **aims)
    yield _large_set(name, compiler)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    met = {"aim": "at most 500 MB", "met": used <= 500} if factor == 8 else {}
    yield Row(
        name=f"{name}: highest resident memory so far, the world itself included",
        unit="MiB",
        ours=used,
        **met,
    )


def _kinds(world: World, policies: int) -> dict[str, Changes]:
    rng = random.Random(1)
    spaces = len(world.namespace_labels)
    count = len(world.identities)
    endpoints = [e for e in world.endpoints.values() if e.spec.node != fleet.HOME]

    def identity(n: int) -> tuple[Change, Change]:
        number = IdentityNumber(256 + count + n)
        return Change(identities={number: fleet.labels_of(n * 31 % count, spaces)}), Change(
            identities={number: None}
        )

    def endpoint(n: int) -> tuple[Change, Change]:
        one = rng.choice(endpoints)
        moved = replace(one, spec=replace(one.spec, node="node-x", addresses=(IPv4Address((11 << 24) + n),)))
        return Change(endpoints={one.key: moved}), Change(endpoints={one.key: one})

    def policy(n: int) -> tuple[Change, Change]:
        which = n * 7 % policies
        old, new = fleet.policy_of(which, spaces), fleet.policy_of(which, spaces, port=8443)
        return Change(policies={old.key: (new,)}), Change(policies={old.key: (old,)})

    def namespace(n: int) -> tuple[Change, Change]:
        key = ("c1", f"ns{n * 3 % spaces}")
        old = world.namespace_labels[key]
        return Change(namespace_labels={key: {**old, "team": f"t{(n * 3 + 1) % 40}"}}), Change(
            namespace_labels={key: old}
        )

    return {
        "an identity added or removed": identity, "a remote endpoint moved": endpoint, "a policy edited": policy,
        "a namespace relabelled": namespace,
    }  # fmt: skip


def _large_set(name: str, compiler: Compiler) -> Row:
    """One prefix more or less among many, of a set that every local rule list asks for."""
    whole = tuple(fleet.nets(PREFIXES))

    def change(nets: tuple[IPv4Network, ...]) -> Change:
        return Change(
            network_sets={
                fleet.BLOCKED: LabelledNets(labels={"role": fleet.BLOCKED}, nets=nets, name=fleet.BLOCKED)
            }
        )

    compiler.apply(change(whole))
    taken = []
    for n in range(TURNS // 4):
        cut = n * 1_999 % PREFIXES
        for nets in (whole[:cut] + whole[cut + 1 :], whole):
            one = change(nets)
            began = time.perf_counter()
            compiler.apply(one)
            taken.append((time.perf_counter() - began) * 1000)
    worst = sorted(taken)[int(len(taken) * 0.99)]
    return Row(
        name=f"{name}: a network set of {PREFIXES:,} prefixes changed by one", unit="ms", ours=statistics.median(taken),
        note=f"p99 {worst:.2f} ms; reading its document is not in it",
    )  # fmt: skip
