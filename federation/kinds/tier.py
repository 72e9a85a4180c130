"""Tier: policies that are evaluated together, before those of later tiers."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.access.rights import Right
from federation.errors import Fault, shown
from federation.resources.kind import Column, Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status
from federation.rules.names import MAX_TIER_NAME, TIER, annotation_faults, order_faults

CALICO_VERSION = "projectcalico.org/v3"
CALICO_VERSIONS = (CALICO_VERSION, "crd.projectcalico.org/v1")
"""As Calico's API shows a resource, and as kubectl shows what that API stores."""
RESERVED: dict[str, tuple[float, str]] = {
    "kube-admin": (1_000.0, "Pass"),
    "default": (1_000_000.0, "Deny"),
    "kube-baseline": (10_000_000.0, "Pass"),
}
"""Tiers that always are, as they are: their order, and their default action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpec:
    """`order`: lower first; a tier without one comes last. `default_action`: what ends a tier that selected an endpoint
    and matched nothing."""

    order: float | None = None
    default_action: str = "Deny"


Tier = Resource[TierSpec, Status]


def check(tier: Tier) -> Iterable[Fault]:
    """A name without dots, an action, and for reserved tiers no order or action but theirs."""
    name, spec = tier.metadata.name, tier.spec
    if not TIER.fullmatch(name) or len(name) > MAX_TIER_NAME:
        yield Fault(
            "/metadata/name",
            f"{shown(name)} is not a tier's name: no dots, {MAX_TIER_NAME} characters at most",
        )
    yield from annotation_faults("/metadata/annotations", tier.metadata.annotations)
    yield from order_faults(spec.order)
    if spec.default_action not in ("Deny", "Pass"):
        yield Fault("/spec/defaultAction", f"{shown(spec.default_action)} is not one of Deny, Pass")
        return
    if name not in RESERVED:
        return
    order, action = RESERVED[name]
    if spec.order != order:
        yield Fault("/spec/order", f"tier {name} is reserved: its order is {order:.0f}")
    if spec.default_action != action:
        yield Fault("/spec/defaultAction", f"tier {name} is reserved: its default action is {action}")


KIND = Kind(
    name="Tier",
    plural="tiers",
    scope=Scope.FEDERATION,
    spec=TierSpec,
    right=Right.POLICY,
    check=check,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    columns=(
        Column(title="ORDER", value=lambda r: "" if r.spec.order is None else f"{r.spec.order:g}"),
        Column(title="DEFAULT ACTION", value=lambda r: r.spec.default_action),
    ),
)
