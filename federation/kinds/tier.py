"""Tier: policies that are evaluated together, before those of later tiers."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status

CALICO_VERSION = "projectcalico.org/v3"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpec:
    """`order`: lower first; a tier without one comes last. `default_action`: what ends a tier that selected an endpoint
    and matched nothing."""

    order: float | None = None
    default_action: str = "Deny"


Tier = Resource[TierSpec, Status]


def check(tier: Tier) -> Iterable[Fault]:
    """The default action is Deny or Pass."""
    if tier.spec.default_action not in ("Deny", "Pass"):
        yield Fault("/spec/defaultAction", f"{tier.spec.default_action!r} is not one of Deny, Pass")


KIND = Kind(
    name="Tier",
    plural="tiers",
    scope=Scope.FEDERATION,
    spec=TierSpec,
    check=check,
    accepted_versions=(API_VERSION, CALICO_VERSION),
    columns=(
        Column(title="ORDER", value=lambda r: "" if r.spec.order is None else f"{r.spec.order:g}"),
        Column(title="DEFAULT ACTION", value=lambda r: r.spec.default_action),
    ),
)
