"""All that policy needs to know, as one value: what the engine, the compiler and the simulator start from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from federation.doors import calico
from federation.doors.cilium_peers import Surroundings
from federation.doors.documents import (
    NOTHING_AROUND,
    POLICY_KINDS,
    policies_of,
    surroundings,
    without_services,
)
from federation.doors.labels import NAME_KEYS, cluster_key, namespace_key, node_key
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL, IdentityNumber
from federation.kinds.endpoint import Endpoint, NamedPort
from federation.kinds.tier import Tier
from federation.policy import model
from federation.resources.metadata import AnyResource, ObjectKey

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledNets:
    """A network set: what selectors select by the labels are the addresses in its prefixes."""

    labels: Mapping[str, str]
    """With the namespace's, if it lives in one."""
    nets: tuple[model.Prefix, ...]
    cluster: str = ""
    name: str = ""
    """Tells it from others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node as an end of connections: its addresses, its labels, and (when one names it) its host endpoint."""

    cluster: str
    name: str
    addresses: tuple[Address, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    endpoint: ObjectKey | None = None
    """The HostEndpoint, whose labels and ports follow."""
    endpoint_labels: Mapping[str, str] = field(default_factory=dict)
    selectable: tuple[Address, ...] = ()
    """The host endpoint's expected addresses: only at these do selectors find it as a peer."""
    ports: tuple[NamedPort, ...] = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One ready address of a service, at one of its ports."""

    address: Address
    protocol: int
    port: int


Labels = Mapping[str, str]
INHERITED = (cluster_key(""), node_key(""), namespace_key(""), calico.account_key(""))
"""How names of inherited labels start: what a workload claims of these itself does not count."""
NO_LABELS: Mapping[tuple[str, str], Labels] = {}
OF_THE_SYSTEM = {CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that bears on policy. Staged policies may be in it; they are never enforced."""

    tiers: Mapping[str, Tier] = field(default_factory=dict)
    """By name. A tier that policies name but that is not here sorts last, with default action Deny; those that the model
    itself brings (`resolution.BUILT_IN`) always are."""
    policies: tuple[model.Policy, ...] = ()
    network_sets: tuple[LabelledNets, ...] = ()
    identities: Mapping[IdentityNumber, Labels] = field(default_factory=dict)
    """Security labels by number (see `federation.identities.security_labels`)."""
    endpoints: Mapping[ObjectKey, Endpoint] = field(default_factory=dict)
    hosts: Mapping[tuple[str, str], Host] = field(default_factory=dict)
    """By (cluster, node)."""
    faces: tuple[Host, ...] = ()
    """Hosts once more, as their further host endpoints have them."""
    services: Mapping[tuple[str, str, str], tuple[Backend, ...]] = field(default_factory=dict)
    """By (cluster, namespace, name)."""
    profiles: Mapping[tuple[str, str], model.Policy] = field(default_factory=dict)
    """Calico's, by (cluster, name): what a subject gets after all tiers have passed."""
    profile_labels: Mapping[tuple[str, str], Labels] = field(default_factory=dict)
    """What those who belong to them inherit."""
    namespace_labels: Mapping[tuple[str, str], Labels] = field(default_factory=dict)
    """By (cluster, namespace)."""
    account_labels: Mapping[tuple[str, str, str], Labels] = field(default_factory=dict)
    """By (cluster, namespace, service account)."""
    cluster_labels: Mapping[str, Labels] = field(default_factory=dict)

    def inherited(self, own: Labels, profiles: Iterable[str] = ()) -> Labels:
        """Security labels, with those of the cluster, the namespace and the service account that they name, and under them those
        of profiles, the first one's before the next one's. The same object, when nobody gives any and nothing is claimed."""
        cluster, namespace = own.get(CLUSTER_LABEL, ""), own.get(NAMESPACE_LABEL, "")
        account = own.get(SERVICE_ACCOUNT_LABEL, "")
        found = {cluster_key(k): v for k, v in self.cluster_labels.get(cluster, {}).items()}
        for key, value in self.namespace_labels.get((cluster, namespace), {}).items():
            if key not in NAME_KEYS:  # what they are called is no matter of labels
                found[namespace_key(key)] = value
        for key, value in self.account_labels.get((cluster, namespace, account), {}).items():
            if key not in NAME_KEYS:
                found[calico.account_key(key)] = value
        applied: dict[str, str] = {}
        for name in profiles if self.profile_labels else ():
            for key, value in self.profile_labels.get(
                (cluster, name), self.profile_labels.get(("", name), {})
            ).items():
                applied.setdefault(calico.end_key(key), value)
        given = {
            k: v for k, v in applied.items() if k not in OF_THE_SYSTEM and not k.startswith(INHERITED[:2])
        }
        if not given and not found and not any(k.startswith(INHERITED) for k in own):
            return own
        return given | {k: v for k, v in own.items() if not k.startswith(INHERITED)} | found


def world_of(
    resources: Iterable[AnyResource],
    services: Mapping[tuple[str, str, str], tuple[Backend, ...]] | None = None,
    around: Surroundings = NOTHING_AROUND,
    spaces: Mapping[tuple[str, str], Labels] = NO_LABELS,
) -> World:
    """The world that a set of resources makes; kinds that policy does not know are passed over.

    Without `services` nobody says who serves what, and rules that name services are closed. `around`: what policies of Cilium
    refer to, besides what is among the resources. `spaces`: labels of namespaces by (cluster, namespace), likewise.
    """
    by_kind: dict[str, list[AnyResource]] = {}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    policies = policies_in(by_kind, around)
    sets = (nets_of(r) for kind in SET_KINDS for r in by_kind.get(kind, ()))
    labels = {(r.metadata.cluster, r.metadata.name): r.metadata.labels for r in by_kind.get("Namespace", ())}
    labels |= spaces
    return World(
        tiers={r.metadata.name: r for r in by_kind.get("Tier", ())},
        policies=tuple(without_services(policies) if services is None else policies),
        network_sets=tuple(sets_with_namespaces(sets, labels)),
        identities={r.spec.number: r.spec.labels for r in by_kind.get("Identity", ())},
        endpoints={r.key: r for r in by_kind.get("Endpoint", ())},
        hosts={(r.metadata.cluster, r.metadata.name): host_of(r) for r in by_kind.get("Node", ())},
        services={} if services is None else services,
        namespace_labels=labels,
        account_labels={
            (r.metadata.cluster, r.metadata.namespace, r.metadata.name): r.metadata.labels
            for r in by_kind.get("ServiceAccount", ())
        },
        cluster_labels={r.metadata.name: r.metadata.labels for r in by_kind.get("Cluster", ())},
    )


def policies_in(by_kind: Mapping[str, Iterable[AnyResource]], around: Surroundings) -> Iterator[model.Policy]:
    """The model's policies of all resources, which come by their kind."""
    groups = tuple(by_kind.get("CiliumCIDRGroup", ()))
    for kind in POLICY_KINDS:
        for resource in by_kind.get(kind, ()):
            yield from policies_of(resource, surroundings(groups, resource.metadata.cluster, around))


def host_of(node: AnyResource) -> Host:
    """A Node; what it sends through a tunnel itself comes from its address there."""
    meta, tunnel = node.metadata, node.status.tunnel_address
    addresses = (*node.spec.addresses, *((ip_address(tunnel),) if tunnel else ()))
    return Host(cluster=meta.cluster, name=meta.name, addresses=addresses, labels=meta.labels)


def nets_of(resource: AnyResource) -> LabelledNets:
    """A network set; one in a namespace has the labels by which selectors mean its namespace and cluster."""
    meta, nets, name = resource.metadata, resource.spec.nets, str(resource.key)
    if not meta.namespace:
        return LabelledNets(labels=meta.labels, nets=nets, name=name)
    where = {NAMESPACE_LABEL: meta.namespace} | ({CLUSTER_LABEL: meta.cluster} if meta.cluster else {})
    return LabelledNets(labels={**meta.labels, **where}, nets=nets, cluster=meta.cluster, name=name)


def sets_with_namespaces(
    sets: Iterable[LabelledNets], labels: Mapping[tuple[str, str], Labels]
) -> Iterator[LabelledNets]:
    """Network sets with the labels of their namespaces. One of every cluster is one of each where its namespace has labels."""
    for nets in sets:
        namespace = nets.labels.get(NAMESPACE_LABEL, "")
        found = {
            cluster: given
            for (cluster, name), given in labels.items()
            if name == namespace and nets.cluster in ("", cluster)
        }
        if not namespace or not found:
            yield nets
        for cluster, given in found.items() if namespace else ():
            inherited = {calico.end_key(f"{calico.OF_NAMESPACE}{key}"): value for key, value in given.items()}
            name = f"{nets.name} in {cluster}"
            yield replace(nets, labels={**inherited, **nets.labels}, cluster=cluster, name=name)


SET_KINDS = ("GlobalNetworkSet", "NetworkSet")
