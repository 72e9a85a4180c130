"""GlobalNetworkSet: labelled prefixes, which rules' selectors select as they select endpoints. And NetworkSet, which lives in a
namespace and is selected by those who mean that namespace."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from federation.access.rights import Right
from federation.errors import Fault
from federation.identities import NAMESPACE_LABEL
from federation.kinds.tier import CALICO_VERSIONS
from federation.resources.grammar import escaped
from federation.resources.kind import Column, Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status
from federation.rules.names import annotation_faults

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSetSpec:
    """Canonical prefixes, any number."""

    nets: tuple[Prefix, ...] = ()


GlobalNetworkSet = Resource[NetworkSetSpec, Status]


def check(resource: GlobalNetworkSet) -> Iterable[Fault]:
    """No label may say in which namespace it is: its place alone does."""
    yield from annotation_faults("/metadata/annotations", resource.metadata.annotations)
    if NAMESPACE_LABEL in resource.metadata.labels:
        yield Fault(
            f"/metadata/labels/{escaped(NAMESPACE_LABEL)}", "is what a namespace gives, no label to set"
        )


KIND = Kind(
    name="GlobalNetworkSet",
    plural="globalnetworksets",
    short_names=("gns", "netset"),
    scope=Scope.FEDERATION,
    spec=NetworkSetSpec,
    right=Right.POLICY,
    check=check,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    columns=(Column(title="NETS", value=lambda r: str(len(r.spec.nets))),),
)

NAMESPACED_KIND = Kind(
    name="NetworkSet",
    plural="networksets",
    short_names=("ns-set",),
    scope=Scope.NAMESPACE,
    spec=NetworkSetSpec,
    right=Right.POLICY,
    check=check,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    columns=(Column(title="NETS", value=lambda r: str(len(r.spec.nets))),),
    is_cluster_optional=True,
)
