"""Whether one rule matches one connection: the meaning of every field, once. A mismatch is named by its field."""

from dataclasses import dataclass

from federation.policy import model
from federation.policy.parties import Party
from federation.policy.tables import Direction
from federation.policy.world import Address, World
from federation.rules.model import IcmpMatch, Port
from federation.rules.protocols import WITH_PORTS
from federation.selectors import Selector

ICMP_PROTOCOLS = (1, 58)
HOST_ENDPOINT_ONLY = frozenset({model.PartyKind.HOST_ENDPOINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One new connection, down to its addresses (None: the end has none of that family)."""

    version: int
    protocol: int
    source_port: int
    destination_port: int
    icmp: tuple[int, int]
    source: Address | None
    destination: Address | None


class Matcher:
    """Matches rules in one world; who is selected by what is worked out once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._selected: dict[tuple[int, int, Address | None, str], tuple[model.Match, Party, bool]] = {}
        """By the ids of a match and a party, which are kept with the answer: an id is good only while its object lives."""

    def mismatch(
        self, rule: model.Rule, subject: Party, peer: Party, direction: Direction, asked: Asked, own: Party
    ) -> str:
        """Empty when the rule matches; else the field that does not. `own` is the end on the subject's side."""
        if rule.lacks and rule.action != "Deny":
            return f"{rule.lacks[0]} is not enforced by this release"
        if why := _transport_mismatch(rule, asked):
            return why
        source, destination = (peer, own) if direction is Direction.INGRESS else (own, peer)
        ends = (
            ("source", rule.source, source, asked.source, asked.source_port),
            ("destination", rule.destination, destination, asked.destination, asked.destination_port),
        )
        for name, match, party, address, port in ends:
            if match is model.ANYONE:
                continue
            if why := self.end_mismatch(match, party, subject, address, (asked.protocol, port)):
                return f"{name}.{why}"
        return ""

    def end_mismatch(
        self,
        match: model.Match,
        party: Party,
        subject: Party,
        address: Address | None,
        port: tuple[int, int] | None,
    ) -> str:
        """Empty when an end is as asked; else the field in which it is not. Without `port`, ports are not asked."""
        is_asked = match.kinds is not None or match.selector is not None or match.is_same_cluster
        if is_asked and not self._is_selected(match, party, address, subject.cluster):
            return "selector"
        if match.not_selector is not None and self._is_matched(match.not_selector, party, address):
            return "notSelector"
        if match.near is not model.Near.ANY:
            is_own = (party.cluster, party.node) == (subject.cluster, subject.node)
            if is_own is not (match.near is model.Near.OWN_HOST):
                return "host"
        if match.nets and not _is_in(address, match.nets):
            return "nets"
        if match.not_nets and not _is_outside(address, match.not_nets):
            return "notNets"
        if match.services and not self._serves(match.services, subject.cluster, address, port):
            return "services"
        if port is None:
            return ""
        return _port_mismatch(match, party if self.is_itself(match, party, subject, address) else None, port)

    def is_itself(self, match: model.Match, party: Party, subject: Party, address: Address | None) -> bool:
        """Whether an end that is as asked is so itself, not by a network set that holds its address: then ports by name are its own."""
        has_names = any(isinstance(each, str) for each in (*match.ports, *match.not_ports))
        if match.selector is None or not has_names:
            return True
        return self._is_labelled(match, party, address, subject.cluster if match.is_same_cluster else "")

    def _is_labelled(self, match: model.Match, party: Party, address: Address | None, cluster: str) -> bool:
        kinds, selector = match.kinds, match.selector
        is_near = not cluster or party.cluster in ("", cluster)
        if not is_near or not (kinds is None or _is_of(kinds, party, address)):
            return False
        return selector is None or (party.key is not None and selector.matches(party.labels))

    def _is_selected(self, match: model.Match, party: Party, address: Address | None, cluster: str) -> bool:
        wanted = cluster if match.is_same_cluster else ""
        if party.key is None:
            return self._select(match, party, address, wanted)
        key = (id(match), id(party), address, wanted)
        found = self._selected.get(key)
        if found is None:
            found = self._selected[key] = (match, party, self._select(match, party, address, wanted))
        return found[2]

    def _select(self, match: model.Match, party: Party, address: Address | None, cluster: str) -> bool:
        kinds, selector = match.kinds, match.selector
        if self._is_labelled(match, party, address, cluster):
            return True
        if kinds is not None and model.PartyKind.NETWORK_SET not in kinds:
            return False
        return selector is not None and any(
            _is_in(address, nets.nets) and selector.matches(nets.labels)
            for nets in self.world.network_sets
            if not cluster or nets.cluster in ("", cluster)
        )

    def _is_matched(self, selector: Selector, party: Party, address: Address | None) -> bool:
        if (
            party.key is not None
            and _is_of(model.LABELLED, party, address)
            and selector.matches(party.labels)
        ):
            return True
        return any(
            _is_in(address, nets.nets) and selector.matches(nets.labels) for nets in self.world.network_sets
        )

    def _serves(
        self,
        services: tuple[model.ServiceReference, ...],
        cluster: str,
        address: Address | None,
        port: tuple[int, int] | None,
    ) -> bool:
        return any(
            backend.address == address
            and (not service.has_ports or port in (None, (backend.protocol, backend.port)))
            for service in services
            for backend in self.world.services.get((cluster, service.namespace, service.name), ())
        )


def _transport_mismatch(rule: model.Rule, asked: Asked) -> str:
    if rule.ip_version is not None and rule.ip_version != asked.version:
        return "ipVersion"
    if rule.protocol is not None and rule.protocol != asked.protocol:
        return "protocol"
    if rule.not_protocol is not None and rule.not_protocol == asked.protocol:
        return "notProtocol"
    if rule.icmp is not None and not _is_icmp(rule.icmp, asked):
        return "icmp"
    if rule.not_icmp is not None and (asked.protocol not in ICMP_PROTOCOLS or _is_icmp(rule.not_icmp, asked)):
        return "notICMP"
    return ""


def _is_icmp(wanted: IcmpMatch, asked: Asked) -> bool:
    kind, code = asked.icmp
    return asked.protocol in ICMP_PROTOCOLS and wanted.type in (None, kind) and wanted.code in (None, code)


def _is_of(kinds: frozenset[model.PartyKind], party: Party, address: Address | None) -> bool:
    """Whether an end is of one of these kinds; a host endpoint is one where it expects the address."""
    shared = kinds & party.kinds
    return bool(shared) and (shared != HOST_ENDPOINT_ONLY or address in party.selectable)


def _is_in(address: Address | None, nets: tuple[model.Prefix, ...]) -> bool:
    return address is not None and any(address in net for net in nets)


def _is_outside(address: Address | None, nets: tuple[model.Prefix, ...]) -> bool:
    """A rule whose excluded prefixes are all of the other family does not exist for this one; an end without address is in none."""
    if address is None:
        return True
    same = [net for net in nets if net.version == address.version]
    return bool(same) and not any(address in net for net in same)


def _port_mismatch(match: model.Match, holder: Party | None, port: tuple[int, int]) -> str:
    if match.ports and not any(_is_port(wanted, holder, port) for wanted in match.ports):
        return "ports"
    if any(_is_port(unwanted, holder, port) for unwanted in match.not_ports):
        return "notPorts"
    return ""


def _is_port(wanted: Port, holder: Party | None, port: tuple[int, int]) -> bool:
    protocol, number = port
    if protocol not in WITH_PORTS:
        return False
    if isinstance(wanted, int):
        return wanted == number
    low, separator, high = wanted.partition(":")
    if separator or wanted.isdigit():
        return int(low) <= number <= int(high or low)
    return holder is not None and (protocol, number) in holder.named_ports(wanted)
