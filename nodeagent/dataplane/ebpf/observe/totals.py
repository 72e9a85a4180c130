"""Packets and bytes of each rule, by policy and place, growing over renumbered rules and restarted agents.

The programs count by number. A number that another rule gets begins at zero again (plan.py), so what is read is a difference to what was read
before, when the number is still the same rule's and has not shrunk, and all of it otherwise. Totals stand in a file with what was read last: a
restarted agent first adds what went on while there was none, as long as the maps are still those that the names were written for. What was counted
between the last reading and a renumbering is lost (SECONDS at most); nothing is counted twice. A rule's total is its place's: of the rule that
stands there now, and of those that stood there before it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federation.errors import CausewayError, Unavailable
from federation.policy.tables import RuleReference
from nodeagent.dataplane.ebpf.inspect import names
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.observe.counters import rule_totals
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver

FILE = "counts.json"
FORMAT = 1
SECONDS = 30.0
Count = tuple[int, int]
"""(packets, bytes)."""
Totals = Mapping[RuleReference, Count]
NOTHING: Count = (0, 0)


class RuleTotals:
    """Reads the counts every so often. `totals` is replaced whole, so that other threads may look."""

    def __init__(self, driver: NotedDriver, state_dir: Path, generation: Path) -> None:
        self.totals: Totals = {}
        self._driver = driver
        self._path = state_dir / FILE
        self._generation = generation
        self._raw: Mapping[int, Count] = {}
        self._rules: Mapping[int, RuleReference] = {}
        self._told: dict[RuleReference, Count] = {}

    def adopt(self) -> None:
        """Before the first round, which sets the programs' counts to zero: what stands in the file, and what has come since. A file or maps that
        cannot be used cost totals, nothing else."""
        try:
            self.totals, raw, rules = _load(self._path)
        except (OSError, ValueError, TypeError, KeyError):
            return
        try:
            node = names.load_node(self._path.parent)
            with Pins(self._generation) as pins:
                if names.mark_of(pins) == node.mark:
                    self.totals = advanced(self.totals, (raw, rules), (rule_totals(pins), node.references))
        except (CausewayError, OSError):
            return

    def read(self) -> float:
        """Once; seconds to the next time. Raises DriverError or Unavailable."""
        turn, done = self._driver.standing()
        if done is None:
            return 1.0
        with Pins(self._generation) as pins:
            raw = rule_totals(pins)
        if self._driver.turn != turn:
            return 1.0  # numbers may have changed while they were read
        rules = done.tables.references
        before = self.totals
        self.totals = advanced(before, (self._raw, self._rules), (raw, rules))
        self._raw, self._rules = raw, rules
        if self.totals != before:
            _save(self._path, self.totals, raw, rules)
        return SECONDS

    def untold(self, most: int) -> Totals:
        """Totals of policies' rules that have changed since they were told, so many at most."""
        changed = {
            rule: count
            for rule, count in self.totals.items()
            if rule.policy is not None and rule.index is not None and self._told.get(rule, NOTHING) != count
        }
        return dict(list(changed.items())[:most])

    def told(self, counts: Totals) -> None:
        """These are known where they were to be told."""
        self._told = {rule: count for rule, count in self._told.items() if rule in self.totals} | dict(counts)


def advanced(
    totals: Totals,
    before: tuple[Mapping[int, Count], Mapping[int, RuleReference]],
    now: tuple[Mapping[int, Count], Mapping[int, RuleReference]],
) -> Totals:
    """Totals after one more reading; each reading is counts by number, and whose number it is. Rules that are gone are forgotten. Pure."""
    (old, old_rules), (new, rules) = before, now
    standing = set(rules.values())
    found = {rule: count for rule, count in totals.items() if rule in standing}
    for number, (packets, size) in new.items():
        rule = rules.get(number)
        if rule is None:
            continue
        last = old.get(number, NOTHING) if old_rules.get(number) == rule else NOTHING
        if packets < last[0] or size < last[1]:
            last = NOTHING
        if (packets, size) != last:
            total = found.get(rule, NOTHING)
            found[rule] = (total[0] + packets - last[0], total[1] + size - last[1])
    return found


def _save(path: Path, totals: Totals, raw: Mapping[int, Count], rules: Mapping[int, RuleReference]) -> None:
    content = {
        "format": FORMAT,
        "totals": [[*names.packed(rule), *count] for rule, count in totals.items()],
        "raw": [
            [number, *names.packed(rules[number]), *count] for number, count in raw.items() if number in rules
        ],
    }
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} was not written: {error.strerror or error}") from error


def _load(path: Path) -> tuple[Totals, Mapping[int, Count], Mapping[int, RuleReference]]:
    content: Any = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it is of another version")
    totals = {names.unpacked(parts): (int(p), int(b)) for *parts, p, b in content["totals"]}
    raw = {int(number): (int(p), int(b)) for number, *_, p, b in content["raw"]}
    rules = {int(number): names.unpacked(parts) for number, *parts, _, _ in content["raw"]}
    return totals, raw, rules
