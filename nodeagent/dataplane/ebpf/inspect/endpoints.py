"""The endpoints of a node, as the kernel polices them."""

from dataclasses import dataclass

from federation.policy.tables import Direction
from nodeagent.dataplane.ebpf.arena import DENIED
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.decode import EndpointEntry
from nodeagent.dataplane.ebpf.inspect.names import LocalEndpoint, Names
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.layout import Address
from nodeagent.dataplane.ebpf.plan import MARK

POLICED = "policed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLine:
    """One endpoint. `bank` and `epoch` are 0 for one that the kernel has no entry of; rules: -1 where its list had no room (all denied)."""

    endpoint: str
    interface: str
    index: int
    addresses: tuple[str, ...]
    identity: int
    identity_name: str
    bank: int
    epoch: int
    ingress_rules: int
    egress_rules: int
    state: str
    """`policed`, or what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An endpoint's entry, with all its addresses."""

    index: int
    entry: EndpointEntry
    addresses: tuple[Address, ...]


def held_entries(pins: Pins) -> tuple[Held, ...]:
    """All entries of the kernel, by interface's index. Raises DriverError."""
    more: dict[int, list[Address]] = {}
    for key, _ in pins.entries("more_addresses"):
        index, address = decode.more_address(key)
        more.setdefault(index, []).append(address)
    found = [
        (decode.number(key), decode.endpoint(value))
        for key, value in pins.entries("endpoints")
        if key != MARK
    ]
    return tuple(
        Held(index=index, entry=entry, addresses=(*entry.addresses, *sorted(more.get(index, ()), key=str)))
        for index, entry in sorted(found, key=lambda pair: pair[0])
    )


def endpoint_lines(pins: Pins, names: Names, faults: dict[str, str]) -> tuple[EndpointLine, ...]:
    """Every endpoint that the kernel or the agent knows. `faults`: what the agent said of endpoints, by path. Raises DriverError."""
    held = {one.index: one for one in held_entries(pins)}
    lines = [_known(local, held.pop(local.index, None), names, faults) for local in names.node.endpoints]
    lines += [_unknown(one, names) for one in held.values()]
    return tuple(sorted(lines, key=lambda line: line.endpoint))


def faults_of_endpoints(faults: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    """What an agent's status says of single endpoints, by path."""
    return {
        key.removeprefix("endpoint "): message for key, _, message in faults if key.startswith("endpoint ")
    }


def _known(local: LocalEndpoint, held: Held | None, names: Names, faults: dict[str, str]) -> EndpointLine:
    fault = faults.get(local.endpoint, "")
    if held is None:
        return _line(local, None, names, f"closed off: {fault or 'the kernel has no entry of it'}")
    if rules_in(held.entry, Direction.INGRESS) < 0 or rules_in(held.entry, Direction.EGRESS) < 0:
        return _line(local, held, names, fault or "its rules have no room: all denied")
    return _line(local, held, names, fault or POLICED)


def _unknown(held: Held, names: Names) -> EndpointLine:
    nameless = LocalEndpoint(
        endpoint=names.who(held.addresses[0]) if held.addresses else "?",
        interface="?",
        index=held.index,
        identity=held.entry.identity,
        addresses=held.addresses,
    )
    return _line(nameless, held, names, "the agent's names do not know it")


def _line(local: LocalEndpoint, held: Held | None, names: Names, state: str) -> EndpointLine:
    entry = held.entry if held else None
    return EndpointLine(
        endpoint=local.endpoint,
        interface=local.interface,
        index=local.index,
        addresses=tuple(str(address) for address in (held.addresses if held else local.addresses)),
        identity=entry.identity if entry else local.identity,
        identity_name=names.identity(entry.identity if entry else local.identity),
        bank=entry.bank if entry else 0,
        epoch=entry.epoch if entry else 0,
        ingress_rules=rules_in(entry, Direction.INGRESS) if entry else 0,
        egress_rules=rules_in(entry, Direction.EGRESS) if entry else 0,
        state=state,
    )


def rules_in(entry: EndpointEntry, direction: Direction) -> int:
    """Rules of one direction; -1 for the denial that stands in for a list without room."""
    extent = entry.lists[direction]
    return -1 if extent.size and extent.start == DENIED.start else extent.size
