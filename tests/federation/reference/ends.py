"""Who stands in a world, read from raw documents with the standard library alone: the ground of the naive reference evaluator.

The reference evaluator of this folder is written from the peers' specifications. It imports nothing of the product, so that a
wrong meaning in the product's doors or matcher cannot be in both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

CLUSTER = "causeway.dev/cluster"
NUMBERS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPV6": 58, "SCTP": 132, "UDPLITE": 136}
Labels = Mapping[str, str]
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True)
class Face:
    """A host endpoint, the only one of its host."""

    labels: Labels
    expected: frozenset[Address]
    """Where selectors find it as a peer."""
    ports: tuple[tuple[str, int, int], ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a connection, at one of its addresses. `place` is (cluster, namespace, name)."""

    kind: str
    address: Address
    place: tuple[str, str, str] = ("", "", "")
    node: str = ""
    labels: Labels = field(default_factory=dict)
    namespace_labels: Labels = field(default_factory=dict)
    account: str = ""
    account_labels: Labels = field(default_factory=dict)
    ports: tuple[tuple[str, int, int], ...] = ()
    """(name, protocol, number)."""
    face: Face | None = None
    """Of a host that a host endpoint names."""

    @property
    def cluster(self) -> str:
        return self.place[0]

    @property
    def namespace(self) -> str:
        return self.place[1]


@dataclass(frozen=True, kw_only=True)
class Packet:
    source: End
    destination: End
    protocol: int
    port: int = 0
    source_port: int = 40000
    icmp: tuple[int, int] = (8, 0)

    @property
    def version(self) -> int:
        return self.source.address.version


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What every world's policies have in common: whom they select, in which tier they stand, and their rules by direction."""

    tier: str
    rank: tuple[float, int, str]
    selects: Callable[[End], bool]
    rules: Mapping[str, list[tuple[str, Callable[[Packet], bool]]]]
    """By "ingress" and "egress": (action, whether it matches). A direction that is absent is not spoken about."""
    isolates: frozenset[str]
    is_cilium: bool = False
    stage: str = ""
    """Of Calico's: doNotTrack, preDNAT, or empty."""
    is_on_forward: bool = False


@dataclass(frozen=True)
class NetworkSet:
    nets: tuple[str, ...]
    labels: Labels
    cluster: str
    """Empty: of no cluster, which is to say of all."""
    namespace: str


class World:
    """The documents of one world, indexed only as far as a reader needs."""

    def __init__(self, documents: Iterable[dict[str, Any]], home: str = "") -> None:
        self.documents = list(documents)
        self.given_home = home
        self.home = home or "default"
        self.ends: dict[Address, End] = {}
        self.sets: list[NetworkSet] = []
        for document in self.of("Node"):
            self._add_node(document)
        for document in self.of("HostEndpoint"):
            self._add_face(document)
        for document in self.of("Pod"):
            self._add_pod(document)
        for document in (*self.of("NetworkSet"), *self.of("GlobalNetworkSet")):
            self._add_set(document)

    def of(self, kind: str, group: str = "") -> list[dict[str, Any]]:
        return [d for d in self.documents if d["kind"] == kind and d["apiVersion"].startswith(group)]

    def at(self, address: str) -> End:
        """Whose address it is; nobody's is the outside world's."""
        found = ip_address(address)
        return self.ends.get(found) or End(kind="outside", address=found)

    def namespace_labels(self, cluster: str, name: str) -> Labels:
        """A namespace's labels, with the one that the API server gives it."""
        return {"kubernetes.io/metadata.name": name, **self._labels("Namespace", cluster, "", name)}

    def _labels(self, kind: str, cluster: str, namespace: str, name: str) -> Labels:
        for document in self.of(kind):
            meta = document["metadata"]
            labels: Labels = meta.get("labels") or {}
            where = (meta.get("namespace", ""), meta["name"])
            if where == (namespace, name) and labels.get(CLUSTER, cluster) == cluster:
                return labels
        return {}

    def _add_node(self, document: dict[str, Any]) -> None:
        meta = document["metadata"]
        labels = meta.get("labels") or {}
        name, cluster = meta["name"], labels.get(CLUSTER, self.home)
        for each in document["status"]["addresses"]:
            address = ip_address(each["address"])
            self.ends[address] = End(
                kind="host", address=address, place=(cluster, "", name), node=name, labels=labels
            )

    def _add_face(self, document: dict[str, Any]) -> None:
        meta, spec = document["metadata"], document["spec"]
        own = meta.get("labels") or {}
        cluster, labels = own.get(CLUSTER, self.home), dict[str, str]()
        profiles = {d["metadata"]["name"]: d["spec"] for d in self.of("Profile")}
        for name in reversed(spec.get("profiles", [])):
            labels |= profiles.get(name, {}).get("labelsToApply", {})
        face = Face(
            labels={**labels, **own, CLUSTER: cluster},
            expected=frozenset(map(ip_address, spec.get("expectedIPs", []))),
            ports=tuple((p["name"], NUMBERS[p["protocol"]], p["port"]) for p in spec.get("ports", [])),
            profiles=tuple(spec.get("profiles", [])),
        )
        for address, end in self.ends.items():
            if end.place == (cluster, "", spec["node"]):
                self.ends[address] = replace(end, face=face)

    def _add_pod(self, document: dict[str, Any]) -> None:
        meta, spec = document["metadata"], document["spec"]
        if spec.get("hostNetwork"):
            return  # it is its host, whose addresses the Node's document tells
        labels = meta.get("labels") or {}
        cluster, account = labels.get(CLUSTER, self.home), spec.get("serviceAccountName", "default")
        place = (cluster, meta["namespace"], meta["name"])
        listed = [port for container in spec["containers"] for port in container.get("ports", [])]
        ports = [(p["name"], NUMBERS[p.get("protocol", "TCP")], p["containerPort"]) for p in listed]
        for each in document["status"]["podIPs"]:
            address = ip_address(each["ip"])
            self.ends[address] = End(
                kind="pod", address=address, place=place, node=spec.get("nodeName", ""), labels=labels, account=account,
                namespace_labels=self.namespace_labels(cluster, meta["namespace"]), ports=tuple(ports),
                account_labels=self._labels("ServiceAccount", cluster, meta["namespace"], account),
            )  # fmt: skip

    def _add_set(self, document: dict[str, Any]) -> None:
        meta = document["metadata"]
        labels = meta.get("labels") or {}
        is_global = document["kind"] == "GlobalNetworkSet"
        cluster = "" if is_global else labels.get(CLUSTER, "")
        namespace = "" if is_global else meta["namespace"]
        self.sets.append(NetworkSet(tuple(document["spec"]["nets"]), labels, cluster, namespace))


def is_in(address: Address, prefix: str) -> bool:
    """Whether an address lies in a prefix of its family."""
    net = ip_network(prefix, strict=False)
    return net.version == address.version and address in net
