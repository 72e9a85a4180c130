"""Kinds of other APIs, taken as they stand: policies of Kubernetes, of its administrators and of Cilium; namespaces and service accounts,
for their labels."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from federation.access.rights import Right
from federation.doors import admin, cilium_checks, kubernetes
from federation.doors.cilium_documents import CidrGroupSpec, CiliumSpec
from federation.errors import Fault
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, AnyResource, Scope
from federation.rules.policies import ENFORCEABLE, WHY

ADMIN_GROUP = "policy.networking.k8s.io"
COLUMNS = (ENFORCEABLE, WHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyLabels:
    """Nothing: of these only names and labels count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CiliumPolicySpec(CiliumSpec):
    """A policy of Cilium; with `specs` it is several rules, each with a selector of its own."""

    specs: tuple[CiliumSpec, ...] = ()

    def rules(self) -> tuple[tuple[str, CiliumSpec], ...]:
        """Each rule, and where it stands (`spec`, `specs/0`)."""
        own = replace(self, specs=())
        alone = (("spec", own),) if own != CiliumPolicySpec() else ()
        return (*alone, *((f"specs/{n}", each) for n, each in enumerate(self.specs)))


def _kubernetes_faults(resource: AnyResource) -> Iterable[Fault]:
    return kubernetes.faults(resource.spec)


def _staged_faults(resource: AnyResource) -> Iterable[Fault]:
    return kubernetes.staged_faults(resource.spec)


def _admin_faults(resource: AnyResource) -> Iterable[Fault]:
    return admin.faults(resource.kind, resource.metadata.name, resource.spec)


def _cilium_faults(resource: AnyResource) -> Iterable[Fault]:
    is_clusterwide = resource.kind == "CiliumClusterwideNetworkPolicy"
    rules = resource.spec.rules()
    if not rules:
        yield Fault("/spec", "is needed, with a selector and rules")
    for place, spec in rules:
        at = f"/{place}" if place == "spec" else f"/spec/{place}"
        yield from cilium_checks.spec_faults(at, spec, is_clusterwide=is_clusterwide)


def _group_faults(resource: AnyResource) -> Iterable[Fault]:
    for index, text in enumerate(resource.spec.external_cidrs):
        yield from cilium_checks.prefix_faults(f"/spec/externalCIDRs/{index}", text)


def _policy(
    name: str, plural: str, short: str, scope: Scope, spec: type[Any], check: Any, *versions: str, **more: Any
) -> Kind:
    return Kind(
        name=name, plural=plural, short_names=(short,), scope=scope, spec=spec, right=Right.POLICY, check=check, columns=COLUMNS,
        accepted_versions=(API_VERSION, *versions), is_cluster_optional=True, **more,
    )  # fmt: skip


POLICIES = (
    _policy(
        "KubernetesNetworkPolicy", "kubernetesnetworkpolicies", "knp", Scope.NAMESPACE, kubernetes.NetworkPolicySpec, _kubernetes_faults,
        "networking.k8s.io/v1", "extensions/v1beta1", foreign_name="NetworkPolicy",
    ),
    _policy(
        "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", "sknp", Scope.NAMESPACE, kubernetes.StagedSpec, _staged_faults,
        "projectcalico.org/v3",
    ),
    _policy(
        "AdminNetworkPolicy", "adminnetworkpolicies", "anp", Scope.CLUSTER, admin.AdminSpec, _admin_faults, f"{ADMIN_GROUP}/v1alpha1",
    ),
    _policy(
        "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", "banp", Scope.CLUSTER, admin.AdminSpec, _admin_faults,
        f"{ADMIN_GROUP}/v1alpha1",
    ),
    _policy(
        "ClusterNetworkPolicy", "clusternetworkpolicies", "clnp", Scope.CLUSTER, admin.AdminSpec, _admin_faults, f"{ADMIN_GROUP}/v1alpha2",
    ),
    _policy(
        "CiliumNetworkPolicy", "ciliumnetworkpolicies", "cnp", Scope.NAMESPACE, CiliumPolicySpec, _cilium_faults, "cilium.io/v2",
        has_several_specs=True,
    ),
    _policy(
        "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", "ccnp", Scope.CLUSTER, CiliumPolicySpec, _cilium_faults,
        "cilium.io/v2", has_several_specs=True,
    ),
)  # fmt: skip
KINDS = (
    *POLICIES,
    Kind(
        name="CiliumCIDRGroup", plural="ciliumcidrgroups", short_names=("ccg",), scope=Scope.CLUSTER, spec=CidrGroupSpec, right=Right.POLICY,
        check=_group_faults, accepted_versions=(API_VERSION, "cilium.io/v2", "cilium.io/v2alpha1"), is_cluster_optional=True,
    ),
    Kind(
        name="Namespace", plural="namespaces", short_names=("ns",), scope=Scope.CLUSTER, spec=OnlyLabels, right=Right.NETWORK,
        accepted_versions=(API_VERSION, "v1"), is_only_labels=True,
    ),
    Kind(
        name="ServiceAccount", plural="serviceaccounts", short_names=("sa",), scope=Scope.NAMESPACE, spec=OnlyLabels, right=Right.NETWORK,
        accepted_versions=(API_VERSION, "v1"), is_only_labels=True,
    ),
)  # fmt: skip
