"""NetworkPolicy: rules for the endpoints of one namespace, of one cluster or (without a cluster) of every cluster. And its
staged kind, which is kept, never enforced."""

from collections.abc import Iterable

from federation.access.rights import Right
from federation.errors import Fault
from federation.kinds.tier import CALICO_VERSIONS
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, Scope
from federation.rules import policies
from federation.rules.model import PolicySpec


def check(policy: policies.Policy) -> Iterable[Fault]:
    """As every policy's, and no namespace selector of its own."""
    yield from policies.check(policy)
    if policy.spec.namespace_selector:
        yield Fault(
            "/spec/namespaceSelector", "a NetworkPolicy is bound to its namespace; use a GlobalNetworkPolicy"
        )


KIND = Kind(
    name="NetworkPolicy",
    plural="networkpolicies",
    short_names=("np",),
    scope=Scope.NAMESPACE,
    spec=PolicySpec,
    right=Right.POLICY,
    check=check,
    complete=policies.complete,
    columns=policies.COLUMNS,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    is_cluster_optional=True,
)

STAGED_KIND = Kind(
    name="StagedNetworkPolicy",
    plural="stagednetworkpolicies",
    short_names=("snp",),
    scope=Scope.NAMESPACE,
    spec=PolicySpec,
    right=Right.POLICY,
    check=check,
    complete=policies.complete,
    columns=policies.COLUMNS,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    is_cluster_optional=True,
)
