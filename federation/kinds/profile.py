"""Profile: Calico's rules and labels that endpoints get by belonging to it; `kns.<namespace>`, `ksa.<namespace>.<account>`. Only the
simulator judges it in this release."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federation.errors import Fault
from federation.kinds.tier import CALICO_VERSION
from federation.resources.kind import Kind
from federation.resources.metadata import Resource, Scope, Status
from federation.rules.checks import rule_faults
from federation.rules.model import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSpec:
    """Rules in order; what none of them matches is denied."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: Mapping[str, str] = field(default_factory=dict)


Profile = Resource[ProfileSpec, Status]


def check(profile: Profile) -> Iterable[Fault]:
    """Every fault of its rules."""
    for direction, rules in (("ingress", profile.spec.ingress), ("egress", profile.spec.egress)):
        for index, rule in enumerate(rules):
            yield from rule_faults(f"/spec/{direction}/{index}", rule)


KIND = Kind(
    name="Profile",
    plural="profiles",
    scope=Scope.FEDERATION,
    spec=ProfileSpec,
    check=check,
    accepted_versions=(CALICO_VERSION,),
)
