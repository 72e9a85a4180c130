"""Documents of all worlds into one world. All of them, or none: every fault is said with its source, and then nothing is judged."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from federation.doors import admin, cilium, cilium_checks, kubernetes
from federation.doors.cilium_documents import CidrGroupSpec, CiliumSpec
from federation.doors.documents import CALICO_KINDS
from federation.errors import Fault, InvalidInput
from federation.identities import CLUSTER_LABEL
from federation.kinds import host_endpoint, profile
from federation.kinds.endpoint import NamedPort
from federation.kinds.registry import BY_NAME
from federation.kinds.tier import CALICO_VERSION
from federation.policy import model
from federation.policy.hosts import govern, profile_of, sets_with_namespaces
from federation.policy.world import World, world_of
from federation.resources.codec import decode_as, structured
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, AnyResource, ObjectKey, Scope
from federation.simulation.inventory import KNOWN, Inventory, inventory_of
from federation.simulation.reader import Reader
from federation.simulation.sources import CALICO_GROUP, Sorted, Sourced, SourceFault, sort_documents

OWN_KINDS = (
    *CALICO_KINDS, "Tier", "GlobalNetworkSet", "NetworkSet", "HostEndpoint", "Profile", "Endpoint", "Node", "Cluster",
)  # fmt: skip
KUBERNETES_GROUPS = ("networking.k8s.io", "extensions")
"""`extensions` is where NetworkPolicy began; its fields are the same."""
ADMIN_KINDS = ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy")
STAGED_KIND = "StagedKubernetesNetworkPolicy"
CILIUM_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
KINDS = {**BY_NAME, "HostEndpoint": host_endpoint.KIND, "Profile": profile.KIND}
READ = (
    KNOWN
    | {("causeway.dev", kind) for kind in OWN_KINDS}
    | {(CALICO_GROUP, kind) for kind in OWN_KINDS if kind not in ("Endpoint", "Node", "Cluster")}
    | {(group, "NetworkPolicy") for group in KUBERNETES_GROUPS}
    | {("projectcalico.org", STAGED_KIND)}
    | {("policy.networking.k8s.io", kind) for kind in ADMIN_KINDS}
    | {("cilium.io", kind) for kind in (*CILIUM_KINDS, "CiliumCIDRGroup")}
)
S = TypeVar("S")


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
    own = _own(listed, cluster, faults)
    base = world_of([r for r in own if r.kind not in ("HostEndpoint", "Profile")], stands.services)
    policies = [*base.policies, *_foreign(listed, stands, home, faults)]
    if faults:
        shown = [Fault(f"{f.source}: {f.fault.pointer or '/'}", f.fault.message) for f in faults]
        raise InvalidInput(f"{len(faults)} fault(s); nothing was judged", faults=shown)
    hosts = stands.hosts_beside(base.hosts)
    faces = govern(hosts, (r for r in own if r.kind == "HostEndpoint"), cluster)
    profiles = {(r.metadata.cluster, r.metadata.name): r for r in own if r.kind == "Profile"}
    world = replace(
        base,
        policies=tuple(policies),
        endpoints={**base.endpoints, **stands.endpoints},
        network_sets=tuple(sets_with_namespaces(base.network_sets, stands.namespaces)),
        hosts=hosts,
        faces=faces,
        namespace_labels=stands.namespaces,
        account_labels=stands.accounts,
        profiles={place: profile_of(r) for place, r in profiles.items()},
        profile_labels={place: r.spec.labels_to_apply for place, r in profiles.items()},
    )
    return Simulation(
        world=world, on_host=stands.on_host, host_ports=stands.host_ports, passed_over=listed.passed_over
    )


def _own(listed: Sorted, cluster: str, faults: list[SourceFault]) -> list[AnyResource]:
    """Documents of our own kinds, which are Calico's too."""
    found = []
    for group in ("causeway.dev", "projectcalico.org"):
        for sourced in listed.of(group, *OWN_KINDS):
            kind = KINDS[sourced.kind]
            try:
                found.append(decode_as(kind, _placed(sourced, kind, cluster)))
            except InvalidInput as error:
                inner = error.faults or (Fault("", error.message),)
                faults += [SourceFault(sourced.source, fault) for fault in inner]
                continue
            version = str(sourced.document.get("apiVersion"))
            if version not in (*kind.accepted_versions, API_VERSION, CALICO_VERSION):
                faults.append(
                    SourceFault(sourced.source, Fault("/apiVersion", f"unknown version {version!r}"))
                )
    return found


def _placed(sourced: Sourced, kind: Kind, cluster: str) -> dict[str, Any]:
    """The document with the cluster that its label names, and Kubernetes' default namespace."""
    document = dict(sourced.document)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return document
    metadata = dict(metadata)
    labels = metadata.get("labels")
    label = labels.get(CLUSTER_LABEL) if isinstance(labels, dict) else None
    if kind.scope is not Scope.FEDERATION and "cluster" not in metadata:
        if label:
            metadata["cluster"] = label
        elif not kind.is_cluster_optional:
            metadata["cluster"] = cluster
    if kind.scope is Scope.NAMESPACE:
        metadata.setdefault("namespace", "default")
    elif sourced.group == "projectcalico.org":
        metadata.pop("namespace", None)
    return {**document, "metadata": metadata}


def _foreign(listed: Sorted, stands: Inventory, home: str, faults: list[SourceFault]) -> list[model.Policy]:
    """Policies of Kubernetes and of Cilium."""
    found: list[model.Policy] = []
    for sourced in (s for group in KUBERNETES_GROUPS for s in listed.of(group, "NetworkPolicy")):
        spec = _spec(sourced, kubernetes.NetworkPolicySpec, faults, kubernetes.faults)
        if spec is not None:
            found.append(kubernetes.policy_of(_key(sourced, home, faults, is_namespaced=True), spec))
    for sourced in listed.of("projectcalico.org", STAGED_KIND):
        staged = _spec(sourced, kubernetes.StagedSpec, faults, kubernetes.staged_faults)
        if staged is not None:
            key = _key(sourced, home, faults, is_namespaced=True)
            found.append(kubernetes.staged_policy_of(key, staged))
    for sourced in listed.of("policy.networking.k8s.io", *ADMIN_KINDS):
        key = _key(sourced, home, faults, is_namespaced=False)
        checked = _spec(sourced, admin.AdminSpec, faults, _admin_check(key))
        if checked is not None:
            found.append(admin.policy_of(key, checked))
    around = _cilium_surroundings(listed, stands, faults)
    for sourced in listed.of("cilium.io", *CILIUM_KINDS):
        key = _key(sourced, home, faults, is_namespaced=sourced.kind == "CiliumNetworkPolicy")
        specs = _cilium_specs(sourced, key, faults)
        found += cilium.policies_of(key, specs, around)
    return found


def _admin_check(key: ObjectKey) -> Callable[[admin.AdminSpec], Iterable[Fault]]:
    return lambda spec: admin.faults(key.kind, key.name, spec)


def _key(sourced: Sourced, home: str, faults: list[SourceFault], *, is_namespaced: bool) -> ObjectKey:
    reader = Reader(sourced, faults)
    cluster = reader.labels("metadata", "labels").get(CLUSTER_LABEL, home)
    return ObjectKey(sourced.kind, cluster, reader.namespace if is_namespaced else "", reader.name)


def _spec(
    sourced: Sourced,
    cls: type[S],
    faults: list[SourceFault],
    check: Callable[[S], Iterable[Fault]],
    place: str = "spec",
    value: Any = None,
) -> S | None:
    """A spec that has passed its checks; None (with faults) when it has not."""
    found: list[Fault] = []
    given = sourced.document.get("spec") if value is None else value
    spec = structured({} if given is None else given, cls, f"/{place}", found)
    if spec is not None and not found:
        found += check(spec)
    faults += [SourceFault(sourced.source, fault) for fault in found]
    return None if found else spec


def _cilium_specs(
    sourced: Sourced, key: ObjectKey, faults: list[SourceFault]
) -> list[tuple[str, CiliumSpec]]:
    document = sourced.document
    places: list[tuple[str, Any]] = [("spec", document["spec"])] if "spec" in document else []
    listed = document.get("specs", [])
    if isinstance(listed, list):
        places += [(f"specs/{n}", each) for n, each in enumerate(listed)]
    else:
        faults.append(SourceFault(sourced.source, Fault("/specs", "a list is needed")))
    if not places:
        faults.append(SourceFault(sourced.source, Fault("/spec", "is needed")))
    found = []
    for place, value in places:
        spec = _spec(sourced, CiliumSpec, faults, _cilium_check(place, key), place, value)
        if spec is not None:
            found.append((place, spec))
    return found


def _cilium_check(place: str, key: ObjectKey) -> Callable[[CiliumSpec], Iterable[Fault]]:
    is_clusterwide = key.kind == "CiliumClusterwideNetworkPolicy"
    return lambda spec: cilium_checks.spec_faults(f"/{place}", spec, is_clusterwide=is_clusterwide)


def _cilium_surroundings(listed: Sorted, stands: Inventory, faults: list[SourceFault]) -> cilium.Surroundings:
    groups: dict[str, tuple[str, ...]] = {}
    labels: dict[str, dict[str, str]] = {}
    for sourced in listed.of("cilium.io", "CiliumCIDRGroup"):
        reader = Reader(sourced, faults)
        spec = _spec(sourced, CidrGroupSpec, faults, _group_faults)
        if spec is not None:
            groups[reader.name] = spec.external_cidrs
            labels[reader.name] = reader.labels("metadata", "labels")
    return cilium.Surroundings(
        groups=groups,
        group_labels=labels,
        services=stands.service_labels,
        service_selectors=stands.service_selectors,
    )


def _group_faults(spec: CidrGroupSpec) -> Iterable[Fault]:
    for index, text in enumerate(spec.external_cidrs):
        yield from cilium_checks.prefix_faults(f"/spec/externalCIDRs/{index}", text)
