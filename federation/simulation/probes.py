"""Probes: questions as users write them, and the answers with their reasons."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from federation.errors import InvalidInput
from federation.kinds.endpoint import NamedPort
from federation.policy.evaluate import ICMP_V6, Decision, Engine, SideDecision
from federation.policy.parties import Party, Probe
from federation.policy.staging import promoted
from federation.policy.tables import Verdict
from federation.policy.world import Address
from federation.resources.metadata import ObjectKey
from federation.rules.protocols import PROTOCOLS, WITH_PORTS, protocol_number
from federation.simulation.reading import Simulation

ECHO = {4: 8, 6: 128}
FIELDS = ("from", "to", "port", "protocol", "icmp")
NOTES = ("name", "id", "expect", "comment")
"""Fields of a probe that mean nothing to the verdict, and come back with it."""
SELF = {"verdict": "Allow", "tier": None, "policy": None, "rule": None, "default": "to itself"}


class Judge:
    """Answers probes in one simulated world; `has_staged`: and in the one that staged policies would make."""

    def __init__(self, simulation: Simulation, *, has_staged: bool = False) -> None:
        self.simulation = simulation
        self.engine = Engine(simulation.world)
        self.staged = Engine(promoted(simulation.world)) if has_staged else None
        """Of the world with staged policies carried out."""
        self._by_name: dict[str, list[ObjectKey]] = {}
        self._holders: dict[Address, list[ObjectKey]] = {}
        for key, endpoint in simulation.world.endpoints.items():
            for address in endpoint.spec.addresses:
                self._holders.setdefault(address, []).append(key)
            self._name(key, f"{key.namespace}/{key.name}", f"{key.cluster}/{key.namespace}/{key.name}")
        self._host_ports: dict[str, tuple[NamedPort, ...]] = {}
        for place, host in simulation.on_host.items():
            ports = simulation.host_ports.get(place, ())
            self._host_ports |= dict.fromkeys(("/".join(place[1:]), "/".join(place)), ports)
            self._name(ObjectKey("Node", host[0], "", host[1]), "/".join(place[1:]), "/".join(place))
        for cluster, name in simulation.world.hosts:
            self._name(ObjectKey("Node", cluster, "", name), f"host:{name}", f"host:{cluster}/{name}")

    def _name(self, key: ObjectKey, *names: str) -> None:
        for name in names:
            self._by_name.setdefault(name, []).append(key)

    def ends(self) -> list[str]:
        """Every workload's name, the shortest that is unambiguous."""
        found = []
        for key in sorted(self.simulation.world.endpoints):
            short = f"{key.namespace}/{key.name}"
            found.append(short if len(self._by_name[short]) == 1 else f"{key.cluster}/{short}")
        return found

    def end(self, text: Any) -> ObjectKey | Address:
        """The end of that name. Raises InvalidInput."""
        if not isinstance(text, str) or not text:
            raise InvalidInput(f'{text!r} names no end: "namespace/pod", "host:node" or an address is needed')
        if (address := _address(text)) is not None:
            if len(holders := self._holders.get(address, [])) > 1:
                names = ", ".join(sorted(f"{key.namespace}/{key.name}" for key in holders))
                raise InvalidInput(
                    f"{text} is the address of several pods ({names}): name the one that is meant"
                )
            return address
        keys = self._by_name.get(text, [])
        if len(keys) == 1:
            return keys[0]
        if keys:
            clusters = ", ".join(sorted(key.cluster for key in keys))
            raise InvalidInput(
                f"{text!r} stands in several clusters ({clusters}): write cluster/namespace/pod"
            )
        raise InvalidInput(f"{text!r} is not known")

    def answer(self, probe: Mapping[str, Any], *, has_trace: bool = False) -> dict[str, Any]:
        """The probe's fields, the verdict and both sides. Raises InvalidInput when the probe means nothing."""
        if not isinstance(probe, Mapping):
            raise InvalidInput("a probe is an object")
        if unknown := sorted(map(str, set(probe) - {*FIELDS, "sourcePort", *NOTES})):
            raise InvalidInput(f"unknown field(s) {', '.join(unknown)}; known: {', '.join(FIELDS)}")
        echo = dict(probe)
        probe = {name: value for name, value in probe.items() if value is not None}
        source, destination = self.end(probe.get("from")), self.end(probe.get("to"))
        asked = self._asked(probe, source, destination)
        if self.engine.party(source) is self.engine.party(destination):
            answer = {"verdict": "Allow", "egress": dict(SELF), "ingress": dict(SELF)}
            return {**echo, **answer, **({"staged": answer} if self.staged else {})}
        found = {**echo, **_decision(self.engine.decide(asked, has_trace=has_trace), has_trace=has_trace)}
        if self.staged is not None:
            staged = self.staged.decide(asked, has_trace=has_trace)
            found["staged"] = _decision(staged, has_trace=has_trace)
        return found

    def _asked(
        self, probe: Mapping[str, Any], source: ObjectKey | Address, destination: ObjectKey | Address
    ) -> Probe:
        protocol = _protocol(probe.get("protocol", "TCP"))
        icmp = probe.get("icmp")
        kind = ECHO[self._version(protocol, source, destination)]
        code = 0
        if icmp is not None:
            if not isinstance(icmp, Mapping) or protocol not in (1, 58):
                raise InvalidInput('icmp is an object like {"type": 8, "code": 0}, with protocol ICMP')
            kind, code = (
                _number("icmp.type", icmp.get("type", kind), 255),
                _number("icmp.code", icmp.get("code", 0), 255),
            )
        port = self._port(probe, protocol, self.engine.party(destination))
        return Probe(
            source=source,
            destination=destination,
            protocol=protocol,
            destination_port=port,
            source_port=_number("sourcePort", probe.get("sourcePort", 40000), 65535),
            icmp_type=kind,
            icmp_code=code,
        )

    def _version(self, protocol: int, source: ObjectKey | Address, destination: ObjectKey | Address) -> int:
        """The family of a connection: of the addresses that are named, else of what both ends have."""
        named = [end.version for end in (source, destination) if not isinstance(end, ObjectKey)]
        if named or protocol == ICMP_V6:
            return named[0] if named else 6
        one, other = self.engine.party(source).versions, self.engine.party(destination).versions
        return min(one & other or one | other or {4})

    def _port(self, probe: Mapping[str, Any], protocol: int, destination: Party) -> int:
        port = probe.get("port")
        if protocol not in WITH_PORTS:
            return 0
        if port is None:
            raise InvalidInput("port is needed")
        if isinstance(port, str) and not _is_number(port):
            found = sorted(self._numbers(probe["to"], port, protocol, destination))
            if not found:
                raise InvalidInput(f"the destination has no port called {port!r} of that protocol")
            return found[0]
        return _number("port", int(port) if isinstance(port, str) else port, 65535)

    def _numbers(self, name: str, port: str, protocol: int, destination: Party) -> set[int]:
        """The numbers of a named port; of a pod on its host's network, its own."""
        own = self._host_ports.get(name)
        if own is not None:
            return {p.port for p in own if p.name == port and protocol_number(p.protocol) == protocol}
        return {number for proto, number in destination.named_ports(port) if proto == protocol}


def _address(text: str) -> Address | None:
    """The address that a text writes, if it writes one; IPv4 inside IPv6 is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _protocol(given: Any) -> int:
    number = int(given) if isinstance(given, str) and _is_number(given) else given
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 255:
        return number
    if isinstance(given, str) and given.lower() in PROTOCOLS:
        return protocol_number(given)
    raise InvalidInput(f"protocol {given!r} is not one of TCP, UDP, SCTP, ICMP, or a number")


def _is_number(text: str) -> bool:
    """Whether a text is a number of a length that ports and protocols have."""
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _number(name: str, value: Any, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise InvalidInput(f"{name} {value!r} is not in 0-{limit}")
    return value


def _word(verdict: Verdict) -> str:
    return "Allow" if verdict is Verdict.ALLOW else "Deny"


def _decision(decision: Decision, *, has_trace: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "verdict": _word(decision.verdict),
        "egress": _side(decision.egress, has_trace=has_trace),
        "ingress": _side(decision.ingress, has_trace=has_trace),
    }
    if decision.forward:
        found["forward"] = [
            {
                "host": hop.host.name,
                "direction": hop.direction.name.lower(),
                **_side(hop.side, has_trace=has_trace),
            }
            for hop in decision.forward
        ]
    return found


def _side(side: SideDecision, *, has_trace: bool) -> dict[str, Any]:
    reference = side.reference
    found: dict[str, Any] = {
        "verdict": _word(side.verdict),
        "tier": reference.tier if reference else None,
        "policy": _policy(reference.policy) if reference else None,
        "rule": reference.index if reference else None,
    }
    if reference and reference.section not in ("", "ingress", "egress"):
        found["section"] = reference.section
    if found["rule"] is None:
        found["default"] = side.default
    if has_trace:
        found["trace"] = list(_trace(side))
    return found


def _policy(key: ObjectKey | None) -> dict[str, str] | None:
    if key is None:
        return None
    found = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
    return {**found, "cluster": key.cluster} if key.cluster else found


def _trace(side: SideDecision) -> Iterator[dict[str, Any]]:
    for step in side.trace:
        found: dict[str, Any] = {"tier": step.tier, "policy": _policy(step.policy)}
        if step.index is not None:
            found |= {"section": step.section, "rule": step.index}
        yield {**found, "action": step.action, "matched": not step.mismatch, "mismatch": step.mismatch}
