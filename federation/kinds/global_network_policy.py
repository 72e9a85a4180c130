"""GlobalNetworkPolicy: rules for endpoints of every cluster that its selector selects. And its staged kind, which is kept,
never enforced."""

from federation.access.rights import Right
from federation.kinds.tier import CALICO_VERSIONS
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, Scope
from federation.rules import policies
from federation.rules.model import PolicySpec

KIND = Kind(
    name="GlobalNetworkPolicy",
    plural="globalnetworkpolicies",
    short_names=("gnp",),
    scope=Scope.FEDERATION,
    spec=PolicySpec,
    right=Right.POLICY,
    check=policies.check,
    complete=policies.complete,
    columns=policies.COLUMNS,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
)

STAGED_KIND = Kind(
    name="StagedGlobalNetworkPolicy",
    plural="stagedglobalnetworkpolicies",
    short_names=("sgnp",),
    scope=Scope.FEDERATION,
    spec=PolicySpec,
    right=Right.POLICY,
    check=policies.check,
    complete=policies.complete,
    columns=policies.COLUMNS,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
)
