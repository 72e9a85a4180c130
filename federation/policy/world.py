"""All that policy needs to know, as one value: what the engine, the compiler and the simulator start from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from federation.doors import calico
from federation.doors.labels import cluster_key, namespace_key, node_key
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
    ports: tuple[NamedPort, ...] = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One ready address of a service, at one of its ports."""

    address: Address
    protocol: int
    port: int


Labels = Mapping[str, str]
INHERITED = (cluster_key(""), node_key(""))
"""How names of inherited labels start: what a workload claims of these itself does not count."""


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
    services: Mapping[tuple[str, str, str], tuple[Backend, ...]] = field(default_factory=dict)
    """By (cluster, namespace, name)."""
    profiles: Mapping[tuple[str, str], model.Policy] = field(default_factory=dict)
    """Calico's, by (cluster, name): what a subject gets after all tiers have passed."""
    namespace_labels: Mapping[tuple[str, str], Labels] = field(default_factory=dict)
    """By (cluster, namespace)."""
    account_labels: Mapping[tuple[str, str, str], Labels] = field(default_factory=dict)
    """By (cluster, namespace, service account)."""
    cluster_labels: Mapping[str, Labels] = field(default_factory=dict)

    def inherited(self, own: Labels) -> dict[str, str]:
        """Security labels, with those of the cluster, the namespace and the service account that they name."""
        cluster, namespace = own.get(CLUSTER_LABEL, ""), own.get(NAMESPACE_LABEL, "")
        account = own.get(SERVICE_ACCOUNT_LABEL, "")
        found = {cluster_key(k): v for k, v in self.cluster_labels.get(cluster, {}).items()}
        for key, value in self.namespace_labels.get((cluster, namespace), {}).items():
            found[namespace_key(key)] = value
        for key, value in self.account_labels.get((cluster, namespace, account), {}).items():
            found[calico.account_key(key)] = value
        return {k: v for k, v in own.items() if not k.startswith(INHERITED)} | found


def world_of(resources: Iterable[AnyResource]) -> World:
    """The world that a set of resources makes; kinds that policy does not know are passed over."""
    by_kind: dict[str, list[AnyResource]] = {}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    return World(
        tiers={r.metadata.name: r for r in by_kind.get("Tier", ())},
        policies=tuple(calico.policy_of(r) for kind in POLICY_KINDS for r in by_kind.get(kind, ())),
        network_sets=tuple(
            LabelledNets(labels=r.metadata.labels, nets=r.spec.nets, name=str(r.key))
            for r in by_kind.get("GlobalNetworkSet", ())
        )
        + tuple(set_in_namespace(r) for r in by_kind.get("NetworkSet", ())),
        identities={r.spec.number: r.spec.labels for r in by_kind.get("Identity", ())},
        endpoints={r.key: r for r in by_kind.get("Endpoint", ())},
        hosts={
            (r.metadata.cluster, r.metadata.name): Host(
                cluster=r.metadata.cluster,
                name=r.metadata.name,
                addresses=r.spec.addresses,
                labels=r.metadata.labels,
            )
            for r in by_kind.get("Node", ())
        },
        cluster_labels={r.metadata.name: r.metadata.labels for r in by_kind.get("Cluster", ())},
    )


def set_in_namespace(resource: AnyResource) -> LabelledNets:
    """A NetworkSet, with the labels by which selectors mean its namespace and cluster."""
    meta = resource.metadata
    where = {NAMESPACE_LABEL: meta.namespace} | ({CLUSTER_LABEL: meta.cluster} if meta.cluster else {})
    return LabelledNets(
        labels={**meta.labels, **where}, nets=resource.spec.nets, cluster=meta.cluster, name=str(resource.key)
    )


POLICY_KINDS = (
    "GlobalNetworkPolicy",
    "NetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedNetworkPolicy",
)
