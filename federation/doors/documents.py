"""Any stored policy as the model's policies: one table from kinds to doors."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from federation.doors import admin, calico, cilium, kubernetes
from federation.doors.cilium import Surroundings
from federation.policy import model
from federation.resources.metadata import AnyResource, ObjectKey

CALICO_KINDS = (
    "GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy",
)  # fmt: skip
ADMIN_KINDS = ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy")
CILIUM_KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
KUBERNETES_KIND, STAGED_KIND = "KubernetesNetworkPolicy", "StagedKubernetesNetworkPolicy"
POLICY_KINDS = (*CALICO_KINDS, KUBERNETES_KIND, STAGED_KIND, *ADMIN_KINDS, *CILIUM_KINDS)
STAGED_KINDS = ("StagedGlobalNetworkPolicy", "StagedNetworkPolicy", STAGED_KIND)
NO_SERVICES = "services"
NOTHING_AROUND = Surroundings(are_services_known=False)


def policies_of(resource: AnyResource, around: Surroundings) -> tuple[model.Policy, ...]:
    """The model's policies of a checked resource; none of a kind that is no policy's."""
    kind, key = resource.kind, resource.key
    if kind in CALICO_KINDS:
        return (calico.policy_of(resource),)
    if kind == KUBERNETES_KIND:  # by the name that people know it by, which also breaks ties of order
        return (kubernetes.policy_of(ObjectKey("NetworkPolicy", *_place(key)), resource.spec),)
    if kind == STAGED_KIND:
        return (kubernetes.staged_policy_of(key, resource.spec),)
    if kind in ADMIN_KINDS:
        return (admin.policy_of(key, resource.spec),)
    if kind in CILIUM_KINDS:
        return cilium.policies_of(key, resource.spec.rules(), around)
    return ()


def surroundings(
    resources: Iterable[AnyResource], cluster: str = "", around: Surroundings = NOTHING_AROUND
) -> Surroundings:
    """What Cilium's policies refer to: groups of prefixes out of some resources, of a cluster or of every one, beside what is known."""
    groups = [r for r in resources if r.kind == "CiliumCIDRGroup" and r.metadata.cluster in ("", cluster)]
    groups.sort(key=lambda r: r.metadata.cluster)  # a cluster's own wins over one of the same name for all
    return replace(
        around,
        groups={r.metadata.name: r.spec.external_cidrs for r in groups},
        group_labels={r.metadata.name: r.metadata.labels for r in groups},
    )


def without_services(policies: Iterable[model.Policy]) -> Iterator[model.Policy]:
    """The policies where nobody says who serves a service: rules that name one lack it, and are closed."""
    for policy in policies:
        if any(_names_services(rule) for rule in (*(policy.ingress or ()), *(policy.egress or ()))):
            yield replace(policy, ingress=_closed(policy.ingress), egress=_closed(policy.egress))
        else:
            yield policy


def _closed(rules: tuple[model.Rule, ...] | None) -> tuple[model.Rule, ...] | None:
    return (
        None if rules is None else tuple(_without(rule) if _names_services(rule) else rule for rule in rules)
    )


def _without(rule: model.Rule) -> model.Rule:
    source, destination = replace(rule.source, services=()), replace(rule.destination, services=())
    return replace(rule, source=source, destination=destination, lacks=(*rule.lacks, NO_SERVICES))


def _names_services(rule: model.Rule) -> bool:
    return bool(rule.source.services or rule.destination.services)


def _place(key: ObjectKey) -> tuple[str, str, str]:
    return key.cluster, key.namespace, key.name
