"""What stands in a cluster, from Kubernetes' own documents: pods, workloads, nodes, namespaces, service accounts, services."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from federation.identities import CLUSTER_LABEL
from federation.kinds.endpoint import Endpoint, EndpointSpec, EndpointStatus, NamedPort
from federation.policy.world import Address, Backend, Host
from federation.resources.metadata import Metadata, ObjectKey, Resource
from federation.rules.protocols import protocol_number
from federation.simulation.reader import PORT_PROTOCOLS, Reader, list_of
from federation.simulation.sources import Sorted, SourceFault
from federation.simulation.workloads import WORKLOADS, stand_ins

ORCHESTRATOR = {"projectcalico.org/orchestrator": "k8s"}
"""A label that Calico gives every pod."""
KNOWN = (
    {("", kind) for kind in ("Pod", "Namespace", "ServiceAccount", "Node", "Service", "Endpoints")}
    | {("discovery.k8s.io", "EndpointSlice")}
    | WORKLOADS
)
SERVICE_NAME = "kubernetes.io/service-name"
OVER = ("Succeeded", "Failed")
"""Phases of pods that have ended: their addresses are given back, and may be another's by now."""
Place = tuple[str, str, str]
"""Cluster, namespace, name."""


@dataclass(slots=True)
class Inventory:
    """What was found."""

    endpoints: dict[ObjectKey, Endpoint] = field(default_factory=dict)
    on_host: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """Pods on their host's network: which host."""
    host_ports: dict[Place, tuple[NamedPort, ...]] = field(default_factory=dict)
    """The ports of those pods, which probes may name."""
    hosts: dict[tuple[str, str], Host] = field(default_factory=dict)
    hearsay: set[tuple[str, str]] = field(default_factory=set)
    """Which of the hosts only their pods tell of."""
    namespaces: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    accounts: dict[Place, Mapping[str, str]] = field(default_factory=dict)
    services: dict[Place, tuple[Backend, ...]] = field(default_factory=dict)
    service_labels: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    service_selectors: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    faults: list[SourceFault] = field(default_factory=list)

    def hosts_beside(self, others: Mapping[tuple[str, str], Host]) -> dict[tuple[str, str], Host]:
        """The hosts, together with those that other documents tell of: a Node's document wins, then theirs, then hearsay."""
        named = {place: host for place, host in self.hosts.items() if place not in self.hearsay}
        return {**self.hosts, **others, **named}

    def clusters(self, documents: Sorted, home: str) -> list[str]:
        """Every cluster in which something stands, or that some document names."""
        standing = {*(key.cluster for key in self.endpoints), *(cluster for cluster, _ in self.hosts)}
        named = {cluster for _, _, cluster, *_ in documents.by_name if cluster}
        return sorted({home} | standing | named)


def inventory_of(documents: Sorted, cluster: str) -> Inventory:
    """What the documents say stands there. `cluster` is the one of objects that do not name theirs by the label
    `causeway.dev/cluster`; a namespace or account that names none is in every cluster."""
    found = Inventory()
    for sourced in documents.of("", "Node"):
        _add_node(found, Reader(sourced, found.faults), cluster)
    for sourced in documents.of("", "Pod"):
        _add_pod(found, Reader(sourced, found.faults), cluster)
    for sourced in stand_ins(documents):
        _add_pod(found, Reader(sourced, found.faults), cluster)
    clusters = found.clusters(documents, cluster)
    for sourced in documents.of("", "Namespace"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in clusters_of(labels, clusters):
            found.namespaces[each, reader.name] = labels
    for sourced in documents.of("", "ServiceAccount"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in clusters_of(labels, clusters):
            found.accounts[each, reader.namespace, reader.name] = labels
    _add_services(found, documents, cluster)
    return found


def clusters_of(labels: Mapping[str, str], clusters: list[str]) -> list[str]:
    """In which clusters an object with these labels is."""
    return [labels[CLUSTER_LABEL]] if CLUSTER_LABEL in labels else clusters


def _add_node(found: Inventory, reader: Reader, cluster: str) -> None:
    labels = reader.labels("metadata", "labels")
    home = labels.get(CLUSTER_LABEL, cluster)
    texts = [
        each.get("address")
        for each in reader.objects("status", "addresses")
        if each.get("type") in ("InternalIP", "ExternalIP")
    ]
    addresses = reader.addresses("/status/addresses", texts)
    found.hosts[home, reader.name] = Host(cluster=home, name=reader.name, addresses=addresses, labels=labels)


def _add_pod(found: Inventory, reader: Reader, cluster: str) -> None:
    labels = reader.labels("metadata", "labels")
    home = labels.get(CLUSTER_LABEL, cluster)
    place = (home, reader.namespace, reader.name)
    node = str(reader.at("spec", "nodeName", default=""))
    addresses = _addresses(reader, "podIP", "podIPs")
    ports = tuple(reader.ports())
    if reader.at("spec", "hostNetwork", of=bool, default=False):
        node = node or _host_at(found, home, addresses) or f"host-of-{'-'.join(place[1:])}"
        found.on_host[place] = (home, node)
        found.host_ports[place] = ports
        _add_host(found, home, node, addresses or _addresses(reader, "hostIP", "hostIPs"))
        return
    if node:
        _add_host(found, home, node, _addresses(reader, "hostIP", "hostIPs"))
    if reader.at("status", "phase") in OVER:
        addresses = ()
    account = reader.at("spec", "serviceAccountName") or reader.at("spec", "serviceAccount") or "default"
    metadata = Metadata(name=place[2], namespace=place[1], cluster=home, labels={**labels, **ORCHESTRATOR})
    spec = EndpointSpec(node=node, addresses=addresses, service_account=str(account), ports=ports)
    endpoint: Endpoint = Resource(kind="Endpoint", metadata=metadata, spec=spec, status=EndpointStatus())
    if endpoint.key in found.endpoints or (place in found.on_host):
        reader.fault("/metadata/name", f"pod {'/'.join(place)} stands twice")
    found.endpoints[endpoint.key] = endpoint


def _addresses(reader: Reader, one: str, several: str) -> tuple[Address, ...]:
    own = reader.at("status", one)
    texts = [each.get("ip") for each in reader.objects("status", several)]
    return reader.addresses(f"/status/{one}", [*([own] if own else []), *texts])


def _host_at(found: Inventory, cluster: str, addresses: tuple[Address, ...]) -> str:
    """The host that has one of the addresses."""
    return next(
        (
            name
            for (home, name), host in found.hosts.items()
            if home == cluster and not set(addresses).isdisjoint(host.addresses)
        ),
        "",
    )


def _add_host(found: Inventory, cluster: str, name: str, addresses: tuple[Address, ...]) -> None:
    """A host that only its pods tell of, or whose addresses only they tell."""
    host = found.hosts.get((cluster, name))
    if host is None:
        host = Host(cluster=cluster, name=name)
        found.hearsay.add((cluster, name))
    found.hosts[cluster, name] = host if host.addresses else replace(host, addresses=addresses)


def _add_services(found: Inventory, documents: Sorted, home: str) -> None:
    """Who serves each service: what slices say, else Endpoints, else the pods that it selects. One that names no cluster is in
    every cluster."""
    clusters = found.clusters(documents, home)
    backends: dict[Place, set[Backend]] = {}
    for sourced in documents.of("discovery.k8s.io", "EndpointSlice"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in clusters_of(labels, clusters):
            place = (each, reader.namespace, labels.get(SERVICE_NAME, ""))
            backends.setdefault(place, set()).update(_slice_backends(reader))
    for sourced in documents.of("", "Endpoints"):
        reader = Reader(sourced, found.faults)
        for each in clusters_of(reader.labels("metadata", "labels"), clusters):
            place = (each, reader.namespace, reader.name)
            if place not in backends:
                backends[place] = set(_subset_backends(reader))
    for sourced in documents.of("", "Service"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        found.service_labels[reader.namespace, reader.name] = labels
        selector = reader.labels("spec", "selector")
        found.service_selectors[reader.namespace, reader.name] = selector
        for each in clusters_of(labels, clusters):
            place = (each, reader.namespace, reader.name)
            if place not in backends:
                backends[place] = set(_selected_backends(found, reader, each, selector))
    for place, listed in backends.items():
        order = sorted(listed, key=lambda b: (b.address.version, int(b.address), b.protocol, b.port))
        found.services[place] = tuple(order)


def _slice_backends(reader: Reader) -> Iterator[Backend]:
    ports = [_port(reader, "/ports", port) for port in reader.objects("ports")] or [(6, 0)]
    for endpoint in reader.objects("endpoints"):
        conditions = endpoint.get("conditions")
        if isinstance(conditions, Mapping) and conditions.get("ready", True) is False:
            continue
        for address in reader.addresses("/endpoints", list_of(endpoint.get("addresses"))):
            for protocol, port in ports:
                yield Backend(address=address, protocol=protocol, port=port)


def _subset_backends(reader: Reader) -> Iterator[Backend]:
    for subset in reader.objects("subsets"):
        texts = [each.get("ip") for each in list_of(subset.get("addresses")) if isinstance(each, Mapping)]
        ports = [_port(reader, "/subsets", p) for p in list_of(subset.get("ports")) if isinstance(p, Mapping)]
        for address in reader.addresses("/subsets", texts):
            for protocol, port in ports or [(6, 0)]:
                yield Backend(address=address, protocol=protocol, port=port)


def _selected_backends(
    found: Inventory, reader: Reader, cluster: str, selector: Mapping[str, str]
) -> Iterator[Backend]:
    """The pods that a service selects, at its target ports, when no slice says who is ready."""
    if not selector:
        return
    wanted = [(port.get("targetPort", port.get("port")), port) for port in reader.objects("spec", "ports")]
    for key, endpoint in found.endpoints.items():
        if (key.cluster, key.namespace) != (cluster, reader.namespace):
            continue
        if any(endpoint.metadata.labels.get(name) != value for name, value in selector.items()):
            continue
        for target, port in wanted:
            protocol, number = _port(
                reader, "/spec/ports", {**port, "port": 0 if isinstance(target, str) else target}
            )
            numbers = [number]
            if isinstance(target, str):
                own = endpoint.spec.ports
                numbers = [
                    p.port for p in own if p.name == target and protocol_number(p.protocol) == protocol
                ]
            for address in endpoint.spec.addresses:
                for each in numbers:
                    yield Backend(address=address, protocol=protocol, port=each)


def _port(reader: Reader, pointer: str, port: Mapping[str, Any]) -> tuple[int, int]:
    """Protocol and number of a port; (TCP, 0), and a fault, for what is none."""
    name, number = port.get("protocol", "TCP"), port.get("port", 0)
    if name not in PORT_PROTOCOLS or isinstance(number, bool) or not isinstance(number, int):
        reader.fault(pointer, f"{dict(port)!r} is not a port")
        return 6, 0
    return protocol_number(name), number
