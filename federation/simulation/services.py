"""Who serves which service, from Services, EndpointSlices and Endpoints."""

from collections.abc import Iterator, Mapping
from typing import Any

from federation.policy.world import Backend
from federation.rules.protocols import protocol_number
from federation.simulation.inventory import Inventory, Place, clusters_of
from federation.simulation.reader import PORT_PROTOCOLS, Reader, list_of
from federation.simulation.sources import Sorted

SERVICE_NAME = "kubernetes.io/service-name"


def add_services(found: Inventory, documents: Sorted, home: str) -> None:
    """Add who serves each service: what slices say, else Endpoints, else the pods that it selects. One that
    names no cluster is in every cluster."""
    clusters = found.clusters(home)
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
