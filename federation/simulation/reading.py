"""Documents of all worlds into one world. All of them, or none: every fault is said with its source, and then nothing is judged."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from federation.doors.cilium_peers import Surroundings
from federation.errors import Fault, InvalidInput
from federation.kinds.endpoint import NamedPort
from federation.kinds.registry import BY_NAME
from federation.policy.hosts import governed
from federation.policy.world import World, world_of
from federation.resources.codec import decode_as
from federation.resources.foreign import CRD_GROUP, placed
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, AnyResource
from federation.simulation.inventory import KNOWN, inventory_of
from federation.simulation.sources import CALICO_GROUP, Sorted, Sourced, SourceFault, sort_documents

OWN_GROUP = "causeway.dev"
STORED_VERSION = f"{CRD_GROUP}/v1"
SILENT = ("Link", "Identity", "Namespace", "ServiceAccount")
"""Kinds of ours of which another API's documents are read by the inventory, or which say nothing to policy."""


def _groups(kind: Kind) -> Iterator[tuple[str, str]]:
    """(group, name) of the documents of a kind."""
    if kind.name not in ("Link", "Identity"):
        yield OWN_GROUP, kind.name
    if kind.name not in SILENT:
        for version in (v for v in kind.accepted_versions if v != API_VERSION):
            yield version.partition("/")[0], kind.foreign_name or kind.name


BY_GROUP = {place: kind for kind in BY_NAME.values() for place in _groups(kind)}
READ = KNOWN | BY_GROUP.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A world, and the names by which people speak of its ends."""

    world: World
    on_host: dict[tuple[str, str, str], tuple[str, str]]
    host_ports: Mapping[tuple[str, str, str], tuple[NamedPort, ...]] = field(default_factory=dict)
    """Of pods on their host's network."""
    passed_over: dict[str, int]
    """How many documents of which kinds say nothing to policy."""


def read(documents: Iterable[tuple[str, Any]], home: str = "") -> Simulation:
    """The simulation that (source, document) pairs make. Raises InvalidInput with all faults.

    `home` is the cluster of objects that do not name theirs by the label `causeway.dev/cluster`. Without it they stand in a
    cluster called `default`, and policies that name none are for every cluster.
    """
    cluster = home or "default"
    listed = sort_documents(documents, READ)
    faults = list(listed.faults)
    stands = inventory_of(listed, cluster)
    faults += stands.faults
    own = list(_resources(listed, home, faults))
    if faults:
        told = dict.fromkeys(faults)  # two readers of one field may both find its fault
        shown = [Fault(f"{f.source}: {f.fault.pointer or '/'}", f.fault.message) for f in told]
        raise InvalidInput(f"{len(shown)} fault(s); nothing was judged", faults=shown)
    around = Surroundings(services=stands.service_labels, service_selectors=stands.service_selectors)
    base = world_of(own, stands.services, around, stands.namespaces)
    world = replace(
        base,
        endpoints={**base.endpoints, **stands.endpoints},
        hosts=stands.hosts_beside(base.hosts),
        account_labels={**base.account_labels, **stands.accounts},
    )
    return Simulation(
        world=governed(world, own, cluster, are_services_known=True),
        on_host=stands.on_host,
        host_ports=stands.host_ports,
        passed_over=listed.passed_over,
    )


def _resources(listed: Sorted, home: str, faults: list[SourceFault]) -> Iterator[AnyResource]:
    """All but what the inventory reads, through the door that the control plane has."""
    for (group, name), kind in BY_GROUP.items():
        for sourced in listed.of(group, name):
            version = str(sourced.document.get("apiVersion"))
            if version not in (*kind.accepted_versions, API_VERSION, STORED_VERSION):
                message = f"unknown version {version!r}; known: {', '.join(kind.accepted_versions)}"
                faults.append(sourced.at(Fault("/apiVersion", message)))
                continue
            try:
                yield decode_as(kind, _placed(sourced, kind, home))
            except InvalidInput as error:
                faults += [sourced.at(fault) for fault in error.faults or (Fault("", error.message),)]


def _placed(sourced: Sourced, kind: Kind, home: str) -> dict[str, Any]:
    """The document with its cluster. A policy that names none is `home`'s when it comes from a cluster's own API, else everybody's."""
    document, metadata = dict(sourced.document), sourced.document.get("metadata")
    if not isinstance(metadata, Mapping):
        return document
    if kind.is_cluster_optional:
        cluster = home if sourced.group not in (OWN_GROUP, CALICO_GROUP) or kind.foreign_name else ""
    else:
        cluster = home or "default"
    return {**document, "metadata": placed(kind, metadata, cluster)}
