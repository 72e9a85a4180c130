"""What a policy takes of the kernel's memory: our maps by what they hold, beside ipset's sets, and beside writing every pair."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.datapath import iptables, primitives, worlds
from benchmarks.datapath.contenders import IPTABLES, OURS, Contenders, tool
from benchmarks.datapath.kernel import Bench
from benchmarks.datapath.worlds import BYSTANDERS, PEERS, World, world
from benchmarks.frames import syn
from benchmarks.pods import TARGET
from benchmarks.rows import Row, grown
from nodeagent.dataplane.ebpf.bpf import open_pin

SIZES = (10, 10_000, 100_000)
BASE = 10_000
MORE = 10_000
"""Identities that are added to tell what one takes."""
OWN_RULES = (10, 500)
PAIRS = 1_000
"""Entries that are written to tell what one takes."""
WORLDS_OF_PAIRS = ((10_000, 1), (100_000, 1), (10_000, 50))
"""Peers, and how many selectors each is in."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """A map: the bytes that the kernel charges for it (as they are now, where it allocates by need), and the entries it has room for."""

    size: int
    room: int


def rows(given: Contenders) -> Iterator[Row]:
    """All of it: a whole node by size, then what one of each takes, then the design that writes every pair."""
    node = given.nodes[OURS]
    bench = Bench(given, node.pin_dir.with_name(f"{node.name}-primitives"))
    yield from grown(_of_node(bench, size) for size in SIZES)
    yield from _of_one(bench)
    yield from _pairs(bench)


def _of_node(bench: Bench, size: int) -> tuple[float, Row]:
    own = world(size)
    bench.enforce(worlds.desired(own))
    held = maps(bench.given.driver.generation)
    peers = {}
    if IPTABLES in bench.given.nodes:
        peers["ipset, without chains"] = _ipset_bytes(bench.given, own) / MIB
    largest = sorted(held, key=lambda name: -held[name].size)[:3]
    row = Row(
        name=f"kernel memory, {size:,} peers, {worlds.rules_of(own):,} rules on the node",
        unit="MiB",
        ours=sum(each.size for each in held.values()) / MIB,
        peers=peers,
        note=", ".join(f"{name} {held[name].size / MIB:.1f}" for name in largest)
        + "; nftables does not tell",
    )
    return size, row


def maps(folder: Path) -> dict[str, Held]:
    """Pinned maps of a folder, by name; programs and what is no pin left out."""
    found = {}
    for path in sorted(path for path in folder.iterdir() if not path.is_symlink()):
        descriptor = open_pin(path)
        try:
            told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        finally:
            os.close(descriptor)
        fields = dict(re.findall(r"^(\w+):\s+(\S+)$", told, re.M))
        if "map_type" in fields:
            found[path.name] = Held(int(fields["memlock"]), int(fields["max_entries"]))
    return found


def _of_one(bench: Bench) -> Iterator[Row]:
    """One identity (with its one address), one rule, one endpoint: by the difference that many make. What is allocated beforehand
    makes none: then it is a place's share of its map."""
    base = _bytes_of(bench, world(BASE))
    yield _one("identity with its address", _bytes_of(bench, world(BASE, newcomers=MORE)) - base, MORE)
    few, many = (_bytes_of(bench, world(BASE, rules)) for rules in OWN_RULES)
    alone = _bytes_of(bench, without_others(world(BASE)))
    standing = maps(bench.given.driver.generation)
    for what, name, difference, count in (
        ("rule", "rules", many - few, OWN_RULES[1] - OWN_RULES[0]),
        ("endpoint", "endpoints", base - alone, len(BYSTANDERS)),
    ):
        held = standing.get(name)
        if difference <= 0 and held:
            room = f"a place's share of the map, {held.size / MIB:.2g} MiB however full"
            yield _one(what, held.size, held.room, room)
        else:
            yield _one(what, difference, count)


def _one(what: str, size: int, count: int, note: str = "") -> Row:
    return Row(name=f"kernel memory of one {what}", unit="bytes", ours=size / count, note=note)


def _bytes_of(bench: Bench, given: World) -> int:
    """Of all maps of ours, once that world is enforced."""
    bench.enforce(worlds.desired(given))
    return sum(held.size for held in maps(bench.given.driver.generation).values())


def without_others(given: World) -> World:
    """The same peers, and no endpoint but the measured ones."""
    lists = {name: own for name, own in given.lists.items() if name not in BYSTANDERS}
    return replace(given, lists=lists)


def pairs(given: World) -> int:
    """Entries of a design that writes one for each endpoint, peer's identity, protocol and ports. Ranges of ports count once."""
    identities = [{given.identities[address] for address in group} for group in given.members]
    return sum(
        len({(identity, line.protocol, line.ports) for line in own if line.group is not None for identity in identities[line.group]})
        for own in given.lists.values()
    )  # fmt: skip


def entries(given: World) -> int:
    """Entries of ours: rows of identities, rules (an end to each list), endpoints. Both designs have the addresses besides."""
    return len(set(given.identities.values())) + worlds.rules_of(given) + 2 * len(given.lists) + 1


def _pairs(bench: Bench) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as work, primitives.loaded(bench.primitives, Path(work)) as folder:
        empty = maps(folder)["pairs"].size
        frames = [syn(PEERS + n, TARGET) for n in range(PAIRS)]
        with bench.given.nodes[OURS].entered():
            primitives.fill(folder / "fill", frames)
        each = (maps(folder)["pairs"].size - empty) / PAIRS
    for size, width in WORLDS_OF_PAIRS:
        own = world(size, width=width)
        ours, theirs = entries(own), pairs(own)
        yield Row(
            name=f"entries of a policy, {size:,} peers in {width} of {len(own.members)} selectors each, {worlds.rules_of(own):,} rules",
            unit="entries",
            ours=ours,
            peers={"every pair": theirs},
            ratio=ours / theirs,
            note=f"every pair: {each:.0f} bytes an entry, {theirs * each / MIB:.3g} MiB; without addresses, which both need",
        )


def _ipset_bytes(given: Contenders, own: World) -> int:
    node = given.nodes[IPTABLES]
    tool(node, "iptables-restore", text="*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    tool(node, "ipset", "destroy")
    tool(node, "ipset", "restore", text=iptables.sets(own))
    told = tool(node, "ipset", "list", "-t")
    return sum(map(int, re.findall(r"Size in memory: (\d+)", told)))
