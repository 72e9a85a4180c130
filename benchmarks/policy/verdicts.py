"""Whether compiled tables say what the engine says, and what the documents say when they are read plainly: one policy, one rule,
one selector after the other, with nothing of ours but the order of the input. Only what the inputs have is read."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from benchmarks.policy.worlds import CLUSTER, NAMESPACE, Input
from federation.identities import WORLD, IdentityNumber
from federation.policy.evaluate import Engine
from federation.policy.parties import Probe
from federation.policy.tables import Direction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from federation.resources.metadata import ObjectKey

PREFIX = "k8s:"
OWN_NAMESPACE = NAMESPACE.removeprefix(PREFIX)
OWN_CLUSTER = CLUSTER.removeprefix(PREFIX)
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
TCP = 6
Labels = Mapping[str, str]


@dataclass(slots=True)
class Outcome:
    """How many questions there were, and how many answers differed."""

    asked: int = 0
    allowed: int = 0
    of_engine: int = 0
    of_documents: int = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """Labels of an endpoint, or an address that is nobody's."""

    labels: Labels | None
    address: IPv4Address


def compare(case: Input, tables: Tables, count: int) -> Outcome:
    """Ask about pairs at random, a third of them with addresses that are nobody's."""
    rng, outcome, engine = random.Random(3), Outcome(), Engine(case.world)
    documents = Documents(case.content)
    keys = list(case.world.endpoints)
    places = {key: place for place, key in enumerate(keys)}
    ports = [*sorted(set(documents.ports())), 1]
    outside = [address for net in documents.nets() for address in (net[0], net[-1])] + [
        IPv4Address("8.8.8.8")
    ]
    for _ in range(count):
        subject, direction, port = rng.choice(case.local), rng.choice(list(Direction)), rng.choice(ports)
        own = documents.peer(places[subject])
        place = rng.randrange(len(keys) * 3 // 2)
        peer = documents.peer(place) if place < len(keys) else Peer(None, rng.choice(outside))
        number = IdentityNumber(256 + place) if place < len(keys) else WORLD
        end: ObjectKey | IPv4Address = keys[place] if place < len(keys) else peer.address
        if end == subject:
            continue
        row = peer_row(tables, number, peer.address)
        packet = Packet(protocol=TCP, source_port=40_000, destination_port=port)
        walked, _ = walk(tables, tables.subjects[subject], direction, row, packet)
        is_in = direction is Direction.INGRESS
        source, to = (end, subject) if is_in else (subject, end)
        decision = engine.decide(Probe(source=source, destination=to, protocol="TCP", destination_port=port))
        plain = documents.is_allowed(own, peer, "ingress" if is_in else "egress", port)
        outcome.asked += 1
        outcome.allowed += walked is Verdict.ALLOW
        outcome.of_engine += walked is not (decision.ingress if is_in else decision.egress).verdict
        outcome.of_documents += (walked is Verdict.ALLOW) is not plain
    return outcome


class Documents:
    """The input, and what it allows."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._policies: list[Mapping[str, Any]] = content["policies"]
        self._cluster: str = content["cluster"]
        self._labels = [
            dict(text.removeprefix(PREFIX).split("=", 1) for text in each["labels"])
            for each in content["identities"]
        ]

    def peer(self, place: int) -> Peer:
        """The endpoint of the identity at a place."""
        return Peer(self._labels[place], IPv4Address((10 << 24) + place))

    def ports(self) -> Iterator[int]:
        """All that rules name."""
        for rule in self._rules():
            for ports in rule.get("toPorts") or ():
                yield from (int(port["port"]) for port in ports["ports"])

    def nets(self) -> Iterator[IPv4Network]:
        """All that rules name, exceptions too."""
        for rule in self._rules():
            for each in (*(rule.get("fromCIDRSet") or ()), *(rule.get("toCIDRSet") or ())):
                yield from (IPv4Network(text) for text in (each["cidr"], *each.get("except", ())))

    def is_allowed(self, subject: Peer, peer: Peer, way: str, port: int) -> bool:
        """Denials, then allows; without either it is open to whom no policy selects."""
        verdicts, is_isolated = [], False
        for policy in self._policies:
            spec, space = policy["spec"], policy["metadata"].get("namespace", "")
            home = (subject.labels or {})[OWN_NAMESPACE]
            if (space and home != space) or not self._selects(
                spec["endpointSelector"], subject.labels, space
            ):
                continue
            for section, verdict in ((f"{way}Deny", False), (way, True)):
                is_isolated |= section in spec
                for rule in spec.get(section) or ():
                    if self._is_peer(rule, peer, space) and _is_port(rule, port):
                        verdicts.append(verdict)
        return all(verdicts) if verdicts else not is_isolated

    def _rules(self) -> Iterator[Mapping[str, Any]]:
        for policy in self._policies:
            for section in ("ingress", "ingressDeny", "egress", "egressDeny"):
                yield from policy["spec"].get(section) or ()

    def _is_peer(self, rule: Mapping[str, Any], peer: Peer, space: str) -> bool:
        fields = {
            name[2 if name.startswith("to") else 4 :]: value
            for name, value in rule.items()
            if name != "toPorts"
        }
        if not fields:
            return True
        if fields.keys() - {"Endpoints", "CIDRSet", "Entities"}:
            raise ValueError(f"no such rule is read here: {sorted(rule)}")
        if peer.labels is None:
            return "world" in fields.get("Entities", ()) or any(
                _is_in(peer.address, each) for each in fields.get("CIDRSet", ())
            )
        is_ours = peer.labels[OWN_CLUSTER] == self._cluster
        return ("cluster" in fields.get("Entities", ()) and is_ours) or any(
            self._selects(selector, peer.labels, space) for selector in fields.get("Endpoints", ())
        )

    def _selects(self, selector: Mapping[str, Any], labels: Labels | None, space: str) -> bool:
        """A selector means its own namespace and cluster unless it names another."""
        if labels is None:
            return False
        wanted = {
            key.removeprefix(PREFIX): {value} for key, value in (selector.get("matchLabels") or {}).items()
        }
        for each in selector.get("matchExpressions") or ():
            if each["operator"] != "In":
                raise ValueError(f"no such operator is read here: {each}")
            wanted[each["key"].removeprefix(PREFIX)] = set(each["values"])
        if space and not any(key == OWN_NAMESPACE or key.startswith(NAMESPACE_LABELS) for key in wanted):
            wanted[OWN_NAMESPACE] = {space}
        wanted.setdefault(OWN_CLUSTER, {self._cluster})
        return all(labels.get(key) in values for key, values in wanted.items())


def _is_port(rule: Mapping[str, Any], port: int) -> bool:
    listed = rule.get("toPorts")
    return not listed or any(int(each["port"]) == port for ports in listed for each in ports["ports"])


def _is_in(address: IPv4Address, block: Mapping[str, Any]) -> bool:
    return address in IPv4Network(block["cidr"]) and not any(
        address in IPv4Network(text) for text in block.get("except", ())
    )
