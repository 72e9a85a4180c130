"""Profile: Calico's rules and labels that endpoints get by belonging to it; `kns.<namespace>`, `ksa.<namespace>.<account>`, or those
that a HostEndpoint lists."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federation.access.rights import Right
from federation.errors import Fault
from federation.kinds.tier import CALICO_VERSIONS
from federation.resources.grammar import label_faults
from federation.resources.kind import Column, Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status
from federation.rules.model import Rule
from federation.rules.names import annotation_faults
from federation.rules.policies import ENFORCEABLE, WHY, rules_faults


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSpec:
    """Rules in order; what none of them matches is denied."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: Mapping[str, str] = field(default_factory=dict)
    """What the endpoints that belong to it inherit; `pcns.` and `pcsa.` begin labels of a namespace, of a service account."""


Profile = Resource[ProfileSpec, Status]


def check(profile: Profile) -> Iterable[Fault]:
    """Every fault of its rules and labels."""
    yield from annotation_faults("/metadata/annotations", profile.metadata.annotations)
    yield from rules_faults("/spec/ingress", profile.spec.ingress)
    yield from rules_faults("/spec/egress", profile.spec.egress)
    yield from label_faults("/spec/labelsToApply", profile.spec.labels_to_apply)


KIND = Kind(
    name="Profile",
    plural="profiles",
    scope=Scope.CLUSTER,
    spec=ProfileSpec,
    right=Right.POLICY,
    check=check,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    is_cluster_optional=True,
    columns=(
        Column(title="RULES", value=lambda r: f"{len(r.spec.ingress)} in, {len(r.spec.egress)} out"),
        Column(title="LABELS TO APPLY", value=lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.spec.labels_to_apply.items()))),
        ENFORCEABLE,
        WHY,
    ),
)  # fmt: skip
