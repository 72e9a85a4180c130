"""The reference verdict: tiers, then policies, then rules, first match wins; both ends must agree."""

from collections.abc import Iterable
from typing import Any

from tests.federation.reference import calico, cilium, kubernetes
from tests.federation.reference.ends import NUMBERS, End, Packet, Policy, World

ALWAYS = {"kube-admin": (1000.0, "Pass"), "default": (1e6, "Deny"), "kube-baseline": (1e7, "Pass")}
LAST = float("inf")
SAFE_BOTH = {(6, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)}
SAFE = {"ingress": {(6, 22), (17, 68), *SAFE_BOTH}, "egress": {(17, 53), (17, 67), *SAFE_BOTH}}
OTHER = {"ingress": "egress", "egress": "ingress"}


class Reference:
    """Judges probes in the world of some documents."""

    def __init__(self, documents: Iterable[dict[str, Any]], home: str = "") -> None:
        self.world = World(documents, home)
        tiers: dict[str, tuple[float, str]] = dict(ALWAYS)
        for document in self.world.of("Tier"):
            spec = document.get("spec") or {}
            order = spec.get("order")
            tiers[document["metadata"]["name"]] = (
                LAST if order is None else order,
                spec.get("defaultAction", "Deny"),
            )
        read = [*calico.policies(self.world), *kubernetes.policies(self.world), *cilium.policies(self.world)]
        missing = sorted({policy.tier for policy in read} - set(tiers))
        self.profiles = calico.profiles(self.world)
        known = sorted(tiers, key=lambda name: (tiers[name][0], name))
        self.tiers = [
            (tiers.get(name, (LAST, "Deny"))[1], sorted((p for p in read if p.tier == name), key=_rank))
            for name in (*known, *missing)
        ]

    def packet(self, probe: dict[str, Any]) -> Packet:
        """What a probe between two addresses sends."""
        icmp = probe.get("icmp") or {}
        protocol = probe["protocol"]
        return Packet(
            source=self.world.at(probe["from"]),
            destination=self.world.at(probe["to"]),
            protocol=protocol if isinstance(protocol, int) else NUMBERS[protocol.upper()],
            port=probe.get("port", 0),
            source_port=probe.get("sourcePort", 40000),
            icmp=(icmp.get("type", 8), icmp.get("code", 0)),
        )

    def sides(self, packet: Packet) -> tuple[str, str]:
        """What the source's egress and the destination's ingress say, "Allow" or "Deny"."""
        source, destination = packet.source, packet.destination
        if source.kind != "outside" and (source.kind, source.place) == (destination.kind, destination.place):
            return "Allow", "Allow"
        return self._side(packet, "egress"), self._side(packet, "ingress")

    def _side(self, packet: Packet, way: str) -> str:
        subject, peer = kubernetes.ends_of(packet, way)
        if subject.kind == "outside":
            return "Allow"
        if subject.face is not None:
            return self.host(packet, subject, way)
        if way == "ingress" and subject.kind == "pod" and _is_host_of(peer, subject):
            return self._own_host_side(packet, subject)
        return self._tiers(packet, subject, way) or "Allow"

    def _tiers(
        self, packet: Packet, subject: End, way: str, stage: str = "", *, is_forwarded: bool = False
    ) -> str:
        """What the tiers decide; "" when none does."""
        for default, policies in self.tiers:
            chosen = [
                p for p in policies
                if way in p.rules and p.stage == stage and (p.is_on_forward or not is_forwarded) and p.selects(subject)
            ]  # fmt: skip
            action = _first(chosen, packet, way)
            if action in ("Allow", "Deny"):
                return action
            is_closed = not stage and default == "Deny" and any(way in policy.isolates for policy in chosen)
            if not action and is_closed:
                return "Deny"
        return ""

    def forwards(self, packet: Packet) -> list[str]:
        """What host endpoints say of a pod's connection that leaves its node, or comes from another."""
        ends = packet.source, packet.destination
        if (ends[0].cluster, ends[0].node) == (ends[1].cluster, ends[1].node):
            return []
        hosts = {(e.cluster, e.node): e for e in self.world.ends.values() if e.face is not None}
        return [
            self.host(packet, hosts[end.cluster, end.node], way, is_forwarded=True)
            for end, way in zip(ends, ("egress", "ingress"), strict=True)
            if end.kind == "pod" and (end.cluster, end.node) in hosts
        ]

    def host(self, packet: Packet, host: End, way: str, *, is_forwarded: bool = False) -> str:
        """What a host endpoint says: untracked, before DNAT, then of what is the host's own or of what passes through."""
        is_safe = (packet.protocol, packet.port) in SAFE[way]
        is_answer = (packet.protocol, packet.source_port) in SAFE[OTHER[way]]
        for stage in ("doNotTrack", "preDNAT"):
            if is_safe or (is_answer and stage == "doNotTrack"):
                continue
            if said := self._tiers(packet, host, way, stage):
                return said
        if is_forwarded:
            return self._tiers(packet, host, way, is_forwarded=True) or "Allow"
        if is_safe:
            return "Allow"
        return self._tiers(packet, host, way) or self._profiles(packet, host, way)

    def _profiles(self, packet: Packet, host: End, way: str) -> str:
        """In their order; one that is missing, or passes, denies, and so does having none that decides."""
        for name in host.face.profiles if host.face else ():
            if name == "projectcalico-default-allow":
                return "Allow"
            if name not in self.profiles:
                return "Deny"
            if action := _first([self.profiles[name]], packet, way):
                return "Allow" if action == "Allow" else "Deny"
        return "Deny"

    def _own_host_side(self, packet: Packet, subject: End) -> str:
        """What a workload's own host sends comes in, unless a denial of Cilium's names it."""
        for _, policies in self.tiers:
            for policy in policies:
                rules = (
                    policy.rules.get("ingress", []) if policy.is_cilium and policy.selects(subject) else []
                )
                if any(action == "Deny" and matches(packet) for action, matches in rules):
                    return "Deny"
        return "Allow"


def _rank(policy: Policy) -> tuple[float, int, str]:
    return policy.rank


def _is_host_of(peer: End, pod: End) -> bool:
    return peer.kind == "host" and (peer.cluster, peer.node) == (pod.cluster, pod.node)


def _first(policies: list[Policy], packet: Packet, way: str) -> str:
    """The action of the first rule that matches, Log aside; "" when none does."""
    for policy in policies:
        for action, matches in policy.rules[way]:
            if action != "Log" and matches(packet):
                return action
    return ""
