"""Where rules go in the arena, and whether what stands can be added to in place. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from federation.errors import DriverError
from federation.identities import WORLD, IdentityNumber
from federation.policy.predicates import covering
from federation.policy.tables import CompiledRule, Direction, RuleAction, Tables
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.drivers import DesiredPolicy

Lines = tuple[CompiledRule, ...]
DENY_ALL: Lines = (CompiledRule(action=RuleAction.DENY),)
"""What a subject gets whose own list cannot be carried out: fail closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What rules look peers up in: all that has to change together when bits change their meaning. Raw map entries, the bank's
    own number left out."""

    addresses: Mapping[IPv4Address, tuple[IdentityNumber, int]] = field(default_factory=dict)
    """Identity, and number of the longest prefix that covers the address (0: none)."""
    prefixes: Mapping[IPv4Network, int] = field(default_factory=dict)
    identity_rows: Mapping[IdentityNumber, int] = field(default_factory=dict)
    prefix_rows: Mapping[int, int] = field(default_factory=dict)


def bank_of(desired: DesiredPolicy) -> Bank:
    """The bank that a desired state needs."""
    tables = desired.tables
    numbers = {net: n for n, net in enumerate(sorted(tables.prefix_rows), start=1)}

    def prefix_of(address: IPv4Address) -> int:
        net = covering(numbers, IPv4Network(address))
        return numbers[net] if net is not None else 0

    return Bank(
        addresses={
            address: (identity, prefix_of(address)) for address, identity in desired.addresses.items()
        },
        prefixes=numbers,
        identity_rows=dict(tables.identity_rows),
        prefix_rows={numbers[net]: row for net, row in tables.prefix_rows.items()},
    )


def is_extension(old: Bank, new: Bank) -> bool:
    """Whether `new` only adds addresses and identities: then writing the difference in place shows no packet a wrong row."""
    return (
        old.prefixes == new.prefixes
        and old.prefix_rows == new.prefix_rows
        and old.addresses.items() <= new.addresses.items()
        and old.identity_rows.items() <= new.identity_rows.items()
        and not {identity for identity, _ in old.addresses.values()}
        & (new.identity_rows.keys() - old.identity_rows.keys())
        and WORLD not in new.identity_rows.keys() - old.identity_rows.keys()
    )


def allocate(occupied: Iterable[Extent], size: int) -> int:
    """Start of the first gap of the arena that takes `size` rules. Raises DriverError when there is none."""
    at = 0
    for extent in sorted(occupied, key=lambda e: e.start):
        if extent.start - at >= size:
            return at
        at = max(at, extent.start + extent.size)
    if at + size > layout.ARENA:
        raise DriverError(
            f"no room for {size} rules among {layout.ARENA}", hint="fewer or simpler policies on this node"
        )
    return at


def lists_of(tables: Tables, class_number: int) -> tuple[Lines, Lines]:
    """The lists of a class, by Direction; one that the programs cannot walk is replaced by a denial."""
    return tuple(  # type: ignore[return-value]  # two directions
        lines if is_walkable(tables, lines) else DENY_ALL
        for lines in (tables.classes[class_number][d] for d in Direction)
    )


def is_walkable(tables: Tables, lines: Lines) -> bool:
    """Whether the programs can carry a list out."""
    return len(lines) <= layout.MAX_RULES and tables.bit_count <= layout.ROW_BITS
