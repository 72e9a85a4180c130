"""Which of the node's interfaces is policed by which host endpoint, and its lists as the programs can carry them out. Pure.

A node is never closed off: an interface that cannot be policed stays open and is reported, and of a list that is too long what comes first is kept,
which failsafe ports do.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from federation.policy.tables import CompiledRule, Direction, HostClasses, HostStage, Tables
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.arena import DENY_ALL, Lines, bits_of
from nodeagent.drivers import Address, HostAttachment, ObjectReport

EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One of the node's namespace."""

    index: int
    name: str
    addresses: frozenset[Address] = frozenset()
    is_up: bool = True
    is_loopback: bool = False
    is_part: bool = False
    """Of a bridge or a bond, which has the packets too."""
    is_bare: bool = False
    """Packets have no Ethernet header there: a tunnel's."""
    has_tags: bool = False
    """Interfaces of VLANs lie on it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Host endpoints by interface's index; what is to be told."""

    by_index: dict[int, HostAttachment]
    reports: tuple[ObjectReport, ...]


def chosen(
    hosts: Iterable[HostAttachment], interfaces: Iterable[Interface], endpoints: Collection[int]
) -> Chosen:
    """The host endpoint of each interface that has one: of several the first. `endpoints`: interfaces of endpoints, which are never
    policed as the node's own."""
    free = [each for each in interfaces if not each.is_loopback and each.index not in endpoints]
    by_index: dict[int, HostAttachment] = {}
    reports = []
    for host in hosts:
        found = [each for each in free if _is_meant(host, each)]
        for each in found:
            by_index.setdefault(each.index, host)
        if not found and host.interface != EVERY:
            wanted = host.interface or f"with one of {', '.join(map(str, host.addresses)) or 'no addresses'}"
            reports.append(
                fault(host, f"there is no interface {wanted} of the node: nothing is policed there")
            )
    return Chosen(by_index, tuple(reports))


def lists_of(tables: Tables, classes: HostClasses) -> tuple[Lines, ...]:
    """The lists of a host endpoint, by HostStage and Direction."""
    numbers = [classes.of(stage) for stage in HostStage]
    return tuple(walkable(tables.classes[number][direction]) for number in numbers for direction in Direction)


def is_whole(tables: Tables, classes: HostClasses) -> bool:
    """Whether the programs can carry all of its lists out."""
    given = tuple(tables.classes[classes.of(stage)][d] for stage in HostStage for d in Direction)
    return given == lists_of(tables, classes)


def failsafe_rules(tables: Tables, classes: HostClasses) -> int:
    """How many rules let failsafe ports pass to the node itself: the first ones of their list."""
    lines = tables.classes[classes.normal][Direction.INGRESS]
    references = (tables.references.get(line.rule_id) for line in lines)
    return sum(1 for _ in takewhile(lambda named: named is not None and named.is_failsafe, references))


def walkable(lines: Lines) -> Lines:
    """A list as far as the programs can walk it: a denial takes the place of the rest."""
    beyond = (n for n, line in enumerate(lines) if bits_of((line,)) >> layout.ROW_BITS)
    end = min(next(beyond, len(lines)), layout.MAX_RULES)
    if end == len(lines):
        return lines
    end = min(end, layout.MAX_RULES - 1)
    return (*(_cut(line, end) for line in lines[:end]), *DENY_ALL)


def fault(host: HostAttachment, message: str, reason: str = "not-enforced") -> ObjectReport:
    """Of a host endpoint that is not policed as it should be."""
    return ObjectReport(
        key=f"host endpoint {host.host_endpoint}", is_ok=False, reason=reason, message=message
    )


def _cut(line: CompiledRule, end: int) -> CompiledRule:
    return replace(line, next_tier=end) if line.action.goes_on and line.next_tier > end else line


def _is_meant(host: HostAttachment, interface: Interface) -> bool:
    if host.interface == EVERY:
        return interface.is_up and not interface.is_part
    if host.interface:
        return interface.name == host.interface
    return not interface.addresses.isdisjoint(host.addresses)
