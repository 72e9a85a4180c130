"""What stands in a cluster, from Kubernetes' own documents: pods, nodes, namespaces, service accounts, services."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from federation.errors import Fault
from federation.identities import CLUSTER_LABEL
from federation.kinds.endpoint import Endpoint, EndpointSpec, EndpointStatus, NamedPort
from federation.policy.world import Address, Backend, Host
from federation.resources.metadata import Metadata, ObjectKey, Resource
from federation.rules.protocols import protocol_number
from federation.simulation.sources import Sorted, Sourced, SourceFault

ORCHESTRATOR = {"projectcalico.org/orchestrator": "k8s"}
"""A label that Calico gives every pod."""
SERVICE_NAME = "kubernetes.io/service-name"
KNOWN = {("", kind) for kind in ("Pod", "Namespace", "ServiceAccount", "Node", "Service", "Endpoints")} | {
    ("discovery.k8s.io", "EndpointSlice")
}
Place = tuple[str, str, str]
"""Cluster, namespace, name."""


@dataclass(slots=True)
class Inventory:
    """What was found."""

    endpoints: dict[ObjectKey, Endpoint] = field(default_factory=dict)
    on_host: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """Pods on their host's network: which host."""
    hosts: dict[tuple[str, str], Host] = field(default_factory=dict)
    namespaces: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    accounts: dict[Place, Mapping[str, str]] = field(default_factory=dict)
    services: dict[Place, tuple[Backend, ...]] = field(default_factory=dict)
    service_labels: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    service_selectors: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    faults: list[SourceFault] = field(default_factory=list)


class Reader:
    """One document, read leniently: fields that do not matter to policy are left alone, wrong types are faults."""

    def __init__(self, sourced: Sourced, faults: list[SourceFault]) -> None:
        self.document = sourced.document
        self.source = sourced.source
        self.faults = faults

    def fault(self, pointer: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(SourceFault(self.source, Fault(pointer, message)))

    def at(self, *path: str, of: type | tuple[type, ...] = str, default: Any = None) -> Any:
        """The value at a path of mappings, of that type; the default when absent or wrong (with a fault)."""
        value: Any = self.document
        for place, name in enumerate(path):
            if not isinstance(value, Mapping):
                self.fault("/" + "/".join(path[:place]), "an object is needed")
                return default
            value = value.get(name)
            if value is None:
                return default
        if not isinstance(value, of):
            self.fault("/" + "/".join(path), f"{value!r} is of the wrong type")
            return default
        return value

    def labels(self, *path: str) -> dict[str, str]:
        """A mapping of texts."""
        found = self.at(*path, of=Mapping, default={})
        wrong = [key for key, value in found.items() if not isinstance(value, str)]
        for key in wrong:
            escaped = key.replace("~", "~0").replace("/", "~1")
            self.fault("/" + "/".join(path) + f"/{escaped}", f"{found[key]!r} is not text: put it in quotes")
        return {key: value for key, value in found.items() if key not in wrong}

    @property
    def name(self) -> str:
        """metadata.name; a fault when there is none."""
        name = str(self.at("metadata", "name", default=""))
        if not name:
            self.fault("/metadata/name", "is needed")
        return name

    @property
    def namespace(self) -> str:
        """metadata.namespace, or `default`."""
        return str(self.at("metadata", "namespace", default="default"))

    def objects(self, *path: str) -> list[Mapping[str, Any]]:
        """A list of mappings."""
        found = self.at(*path, of=list, default=[])
        return [each for each in found if isinstance(each, Mapping)]

    def addresses(self, pointer: str, texts: Iterable[Any]) -> tuple[Address, ...]:
        """Addresses, each once; a fault for what is none."""
        result: dict[Address, None] = {}
        for text in texts:
            try:
                result[ip_address(str(text))] = None
            except ValueError:
                self.fault(pointer, f"{text!r} is not an address")
        return tuple(result)


def inventory_of(documents: Sorted, cluster: str) -> Inventory:
    """What the documents say stands there. `cluster` is the one of objects that do not name theirs by the label
    `causeway.dev/cluster`; a namespace, account or service that names none is in every cluster."""
    found = Inventory()
    for sourced in documents.of("", "Node"):
        _add_node(found, Reader(sourced, found.faults), cluster)
    for sourced in documents.of("", "Pod"):
        _add_pod(found, Reader(sourced, found.faults), cluster)
    clusters = sorted({cluster, *(key.cluster for key in found.endpoints), *(c for c, _ in found.hosts)})
    for sourced in documents.of("", "Namespace"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in _clusters(labels, clusters):
            found.namespaces[each, reader.name] = labels
    for sourced in documents.of("", "ServiceAccount"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in _clusters(labels, clusters):
            found.accounts[each, reader.namespace, reader.name] = labels
    _add_services(found, documents, clusters)
    return found


def _clusters(labels: Mapping[str, str], clusters: list[str]) -> list[str]:
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
    ips = [each.get("ip") for each in reader.objects("status", "podIPs")]
    own = reader.at("status", "podIP")
    addresses = reader.addresses("/status/podIP", [*([own] if own else []), *ips])
    if reader.at("spec", "hostNetwork", of=bool, default=False):
        node = node or f"host-of-{'-'.join(place[1:])}"
        found.on_host[place] = (home, node)
        found.hosts.setdefault((home, node), Host(cluster=home, name=node, addresses=addresses))
        return
    account = reader.at("spec", "serviceAccountName") or reader.at("spec", "serviceAccount") or "default"
    metadata = Metadata(name=place[2], namespace=place[1], cluster=home, labels={**labels, **ORCHESTRATOR})
    spec = EndpointSpec(
        node=node, addresses=addresses, service_account=str(account), ports=tuple(_ports(reader))
    )
    endpoint: Endpoint = Resource(kind="Endpoint", metadata=metadata, spec=spec, status=EndpointStatus())
    if endpoint.key in found.endpoints:
        reader.fault("/metadata/name", f"pod {'/'.join(place)} stands twice")
    found.endpoints[endpoint.key] = endpoint


def _ports(reader: Reader) -> Iterator[NamedPort]:
    for part in ("initContainers", "containers"):
        for index, container in enumerate(reader.objects("spec", part)):
            listed = container.get("ports") or []
            if not isinstance(listed, list):
                reader.fault(f"/spec/{part}/{index}/ports", "a list is needed")
            for place, port in enumerate(_listed(listed)):
                at = f"/spec/{part}/{index}/ports/{place}"
                number = port.get("containerPort") if isinstance(port, Mapping) else None
                if not isinstance(number, int):
                    reader.fault(f"{at}/containerPort", "a number is needed")
                    continue
                protocol = port.get("protocol", "TCP")
                if protocol not in ("TCP", "UDP", "SCTP"):
                    reader.fault(f"{at}/protocol", f"{protocol!r} is not one of TCP, UDP, SCTP")
                    continue
                yield NamedPort(name=str(port.get("name", "")), port=number, protocol=protocol)


def _add_services(found: Inventory, documents: Sorted, clusters: list[str]) -> None:
    backends: dict[Place, set[Backend]] = {}
    for sourced in documents.of("discovery.k8s.io", "EndpointSlice"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        for each in _clusters(labels, clusters):
            place = (each, reader.namespace, labels.get(SERVICE_NAME, ""))
            backends.setdefault(place, set()).update(_slice_backends(reader))
    for sourced in documents.of("", "Endpoints"):
        reader = Reader(sourced, found.faults)
        for each in _clusters(reader.labels("metadata", "labels"), clusters):
            place = (each, reader.namespace, reader.name)
            if place not in backends:
                backends[place] = set(_subset_backends(reader))
    for sourced in documents.of("", "Service"):
        reader = Reader(sourced, found.faults)
        labels = reader.labels("metadata", "labels")
        found.service_labels[reader.namespace, reader.name] = labels
        found.service_selectors[reader.namespace, reader.name] = reader.labels("spec", "selector")
        for each in _clusters(labels, clusters):
            place = (each, reader.namespace, reader.name)
            if place not in backends:
                backends[place] = set(_selected_backends(found, reader, each))
    for place, listed in backends.items():
        order = sorted(listed, key=lambda b: (b.address.version, int(b.address), b.protocol, b.port))
        found.services[place] = tuple(order)


def _slice_backends(reader: Reader) -> Iterator[Backend]:
    ports = [_port(reader, "/ports", port) for port in reader.objects("ports")] or [(6, 0)]
    for endpoint in reader.objects("endpoints"):
        conditions = endpoint.get("conditions")
        if isinstance(conditions, Mapping) and conditions.get("ready", True) is False:
            continue
        for address in reader.addresses("/endpoints", _listed(endpoint.get("addresses"))):
            for protocol, port in ports:
                yield Backend(address=address, protocol=protocol, port=port)


def _subset_backends(reader: Reader) -> Iterator[Backend]:
    for subset in reader.objects("subsets"):
        texts = [each.get("ip") for each in _listed(subset.get("addresses")) if isinstance(each, Mapping)]
        ports = [_port(reader, "/subsets", p) for p in _listed(subset.get("ports")) if isinstance(p, Mapping)]
        for address in reader.addresses("/subsets", texts):
            for protocol, port in ports or [(6, 0)]:
                yield Backend(address=address, protocol=protocol, port=port)


def _selected_backends(found: Inventory, reader: Reader, cluster: str) -> Iterator[Backend]:
    """The pods that a service selects, at its target ports, when no slice says who is ready."""
    selector = reader.labels("spec", "selector")
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


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _port(reader: Reader, pointer: str, port: Mapping[str, Any]) -> tuple[int, int]:
    """Protocol and number of a port; (TCP, 0), and a fault, for what is none."""
    name, number = port.get("protocol", "TCP"), port.get("port", 0)
    if name not in ("TCP", "UDP", "SCTP") or isinstance(number, bool) or not isinstance(number, int):
        reader.fault(pointer, f"{dict(port)!r} is not a port")
        return 6, 0
    return protocol_number(name), number
