"""What a change of a standing policy costs, from the word to the last write: ours by `converge`, the others by their own tools."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.datapath import iptables, nftables, worlds
from benchmarks.datapath.contenders import IPTABLES, NFTABLES, OURS, Contenders, missing, note_of, tool
from benchmarks.datapath.traffic import rotated
from benchmarks.datapath.worlds import TARGET_INTERFACE, Line, World
from benchmarks.rows import Aim, Row, compared
from benchmarks.spine import policies
from federation.errors import DriverError
from nodeagent.drivers import ANYTHING, DesiredPolicy, Journal, Touched

SIZE = 10_000
NETWORKS = (100_000, 30_000)
"""The second is for when ours has no room for the first."""
NOTE = f"beside {SIZE:,} peers; ours: converge(); peers: ipset restore, iptables-restore --noflush, nft -f"


@dataclass(frozen=True, slots=True)
class Step:
    """A change that is measured, there and (if it has a name of its own) back."""

    name: str
    after: World
    turns: int
    back: str = ""


class Teller:
    """Hands states on as the agent does: each with what it touches, which the compiler knows."""

    def __init__(self, given: Contenders) -> None:
        self._given = given
        self._journal = Journal()
        self._serial = 0

    def enforce(self, wanted: DesiredPolicy, touched: Touched) -> None:
        """The next state."""
        self._serial += 1
        self._journal.note(self._serial, touched)
        told = replace(wanted, serial=self._serial, journal=self._journal)
        policies.enforce(self._given.driver, self._given.nodes[OURS], told)


def touched_by(before: DesiredPolicy, after: DesiredPolicy) -> Touched:
    """What differs between two states."""

    def of(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> set[Any]:
        return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}

    return Touched(
        identities=of(before.tables.identity_rows, after.tables.identity_rows),
        nets=of(before.tables.prefix_rows, after.tables.prefix_rows),
        addresses=of(before.addresses, after.addresses),
    )


def rows(given: Contenders) -> Iterator[Row]:
    """All of it, change by change."""
    standing = worlds.world(SIZE)
    given.enforce(standing)
    teller = Teller(given)
    teller.enforce(worlds.desired(standing), ANYTHING)
    for step in (
        Step("one rule changed", one_rule_otherwise(standing), 6, "one rule changed back"),
        Step("one identity more", worlds.world(SIZE, newcomers=1), 6, "one identity less"),
        Step("10,000 identities more", worlds.world(SIZE, newcomers=10_000), 2, "10,000 identities less"),
    ):
        yield from _measured(given, teller, standing, step)
    refused = ""
    for number in NETWORKS:
        step = Step(
            f"a network set of {number:,} prefixes more",
            worlds.world(SIZE, networks=worlds.networks(number)),
            1,
        )
        try:
            yield from (
                replace(row, note=row.note + refused) for row in _measured(given, teller, standing, step)
            )
            break
        except DriverError as error:
            refused += f"; ours refuses {number:,}: {error.message}"
            given.enforce(standing)


def one_rule_otherwise(given: World) -> World:
    """The same world, with one port less in the target's first rule."""
    first, *others = given.lists[TARGET_INTERFACE]
    changed = Line(first.group, (first.ports[0], first.ports[1] - 1), first.protocol)
    return replace(given, lists={**given.lists, TARGET_INTERFACE: (changed, *others)})


def _measured(given: Contenders, teller: Teller, standing: World, step: Step) -> Iterator[Row]:
    """There and back by turns; at the end all contenders are as they were. One that is refused halfway is left so."""
    there = _ways(given, teller, standing, step.after)
    back = _ways(given, teller, step.after, standing)
    samples: dict[str, dict[str, list[float]]] = {
        way: {name: [] for name in there} for way in ("there", "back")
    }
    for turn in range(step.turns):
        for way, actions in (("there", there), ("back", back)):
            for name in rotated(list(actions), turn):
                began = time.perf_counter()
                actions[name]()
                samples[way][name].append((time.perf_counter() - began) * 1000)
            if turn == 0:
                given.must_agree(step.after if way == "there" else standing)
    note = "; ".join(filter(None, (NOTE, note_of(missing()))))
    aim = Aim(most=1) if len(there) > 1 else None
    for way, name in (("there", step.name), ("back", step.back)):
        if name:
            yield compared(f"update: {name}", "ms", samples[way], aim=aim, note=note)


def _ways(given: Contenders, teller: Teller, before: World, after: World) -> dict[str, Callable[[], None]]:
    """What each has to do, with its words made already: they are not what is measured."""
    wanted, change = worlds.desired(after), worlds.change(before, after)
    commands = list(iptables.updates(change))
    text = nftables.update(change)

    touched = touched_by(worlds.desired(before), wanted)

    def ours() -> None:
        teller.enforce(wanted, touched)

    def in_nftables() -> None:
        tool(given.nodes[NFTABLES], "nft", "-f", "-", text=text)

    def in_iptables() -> None:
        for words, body in commands:
            tool(given.nodes[IPTABLES], *words, text=body)

    ways = {OURS: ours, NFTABLES: in_nftables, IPTABLES: in_iptables}
    return {name: do for name, do in ways.items() if name in given.nodes}
