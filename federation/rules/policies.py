"""What GlobalNetworkPolicy, NetworkPolicy and their staged kinds share: the check and the completion at the door.

Semantics: Calico's (docs: reference/resources/globalnetworkpolicy). The checks of single rules stand in `checks.py`, those of their two
sides in `entities.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from federation.errors import Fault, shown
from federation.resources.kind import Column
from federation.resources.metadata import Resource, Status
from federation.rules.checks import rule_faults
from federation.rules.entities import selector_faults
from federation.rules.model import DEFAULT_TIER, PolicySpec, Rule
from federation.rules.names import GLOBAL_POLICY, MAX_TIER_NAME, POLICY, TIER, annotation_faults, order_faults

MAX_RULES = 1024
"""In one direction (as in Calico's API)."""
HINTS = ("AssumeNeededOnEveryNode",)
"""Hints never change a verdict."""

Policy = Resource[PolicySpec, Status]


def check(policy: Policy) -> Iterable[Fault]:
    """Every fault of a policy's name, selectors, types and rules."""
    spec = policy.spec
    yield from _frame_faults(policy)
    for field_name, text in (
        ("selector", spec.selector),
        ("namespaceSelector", spec.namespace_selector),
        ("serviceAccountSelector", spec.service_account_selector),
    ):
        yield from selector_faults(f"/spec/{field_name}", text)
    for index, direction in enumerate(spec.types):
        if direction not in ("Ingress", "Egress"):
            yield Fault(f"/spec/types/{index}", f"{shown(direction)} is not one of Ingress, Egress")
        elif direction in spec.types[:index]:
            yield Fault(f"/spec/types/{index}", f"{direction} stands twice")
    yield from _host_faults(spec, bool(policy.metadata.namespace))
    yield from _staged_faults(policy)
    for section, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        yield from rules_faults(f"/spec/{section}", rules)
        for index, rule in enumerate(rules):
            yield from _section_faults(f"/spec/{section}/{index}", rule, policy)


def _frame_faults(policy: Policy) -> Iterable[Fault]:
    """What stands around the rules: the policy's name, its tier, its order."""
    name, spec = policy.metadata.name, policy.spec
    if not (POLICY if policy.metadata.namespace else GLOBAL_POLICY).fullmatch(name):
        yield Fault(
            "/metadata/name", f"{shown(name)} is not a policy's name: one dot at most, after its tier's name"
        )
    yield from annotation_faults("/metadata/annotations", policy.metadata.annotations)
    if spec.tier and not (TIER.fullmatch(spec.tier) and len(spec.tier) <= MAX_TIER_NAME):
        yield Fault("/spec/tier", f"{shown(spec.tier)} is not a tier's name")
    yield from order_faults(spec.order)
    for index, hint in enumerate(spec.performance_hints):
        if hint not in HINTS:
            yield Fault(f"/spec/performanceHints/{index}", f"{shown(hint)} is not {HINTS[0]}")
        elif hint in spec.performance_hints[:index]:
            yield Fault(f"/spec/performanceHints/{index}", f"{hint} stands twice")


def rules_faults(pointer: str, rules: tuple[Rule, ...]) -> Iterable[Fault]:
    """Every fault of a list of rules."""
    if len(rules) > MAX_RULES:
        yield Fault(pointer, f"more than {MAX_RULES} rules")
    for index, rule in enumerate(rules):
        yield from rule_faults(f"{pointer}/{index}", rule)


def _section_faults(pointer: str, rule: Rule, policy: Policy) -> Iterable[Fault]:
    """What a rule may not say in its direction: services are peers, and HTTP is looked at where it comes in."""
    is_ingress = pointer.startswith("/spec/ingress")
    peer, own = ("source", "destination") if is_ingress else ("destination", "source")
    if (rule.destination if is_ingress else rule.source).services is not None:
        yield Fault(
            f"{pointer}/{own}/services", f"in an {pointer.split('/')[2]} rule services stand in {peer}"
        )
    services = (rule.source if is_ingress else rule.destination).services
    if services is not None and not services.namespace and not policy.metadata.namespace:
        yield Fault(
            f"{pointer}/{peer}/services/namespace", "is needed: the policy has no namespace of its own"
        )
    if rule.http is not None and not is_ingress:
        yield Fault(f"{pointer}/http", "stands in ingress rules only")


def _host_faults(spec: PolicySpec, is_namespaced: bool) -> Iterable[Fault]:
    """What doNotTrack, preDNAT and applyOnForward ask of the rest."""
    chosen = [
        name for name, is_set in (("doNotTrack", spec.do_not_track), ("preDNAT", spec.pre_dnat)) if is_set
    ]
    if (chosen or spec.apply_on_forward) and is_namespaced:
        yield Fault("/spec", "doNotTrack, preDNAT and applyOnForward are for GlobalNetworkPolicies")
    if len(chosen) > 1:
        yield Fault("/spec/preDNAT", "not together with doNotTrack")
    if chosen and not spec.apply_on_forward:
        yield Fault("/spec/applyOnForward", f"{chosen[0]} needs it to be true")
    if spec.pre_dnat and (spec.egress or "Egress" in spec.types):
        yield Fault("/spec/egress", "preDNAT policies have ingress rules only")


def _staged_faults(policy: Policy) -> Iterable[Fault]:
    """A staged Delete has a tier, and nothing else."""
    spec, is_staged = policy.spec, policy.kind.startswith("Staged")
    if spec.staged_action and not is_staged:
        yield Fault("/spec/stagedAction", "is for staged kinds")
    if is_staged and spec.staged_action not in ("", "Set", "Delete", "Learn", "Ignore"):
        yield Fault("/spec/stagedAction", "is not one of Set, Delete, Learn, Ignore")
    if spec.staged_action == "Delete" and replace(spec, tier="") != PolicySpec(
        tier="", staged_action="Delete"
    ):
        yield Fault("/spec", "a staged Delete has a tier, and nothing else")


def complete(policy: Policy) -> Policy:
    """Infer `types` (Egress when there are egress rules; Ingress unless there are only egress rules), and the tier."""
    spec = policy.spec if policy.spec.tier else replace(policy.spec, tier=DEFAULT_TIER)
    if spec.types or spec.staged_action == "Delete":
        return replace(policy, spec=spec)
    types = [] if spec.egress and not spec.ingress else ["Ingress"]
    if spec.egress:
        types.append("Egress")
    return replace(policy, spec=replace(spec, types=tuple(types)))


def _enforceable(part: str) -> Callable[[Policy], str]:
    return lambda r: next((str(getattr(c, part)) for c in r.status.conditions if c.type == "Enforceable"), "")


ENFORCEABLE = Column(title="ENFORCEABLE", value=_enforceable("status"))
WHY = Column(title="WHY", value=_enforceable("message"), wide=True)
COLUMNS = (
    Column(title="TIER", value=lambda r: r.spec.tier),
    Column(title="ORDER", value=lambda r: "" if r.spec.order is None else f"{r.spec.order:g}"),
    Column(title="TYPES", value=lambda r: ",".join(r.spec.types)),
    ENFORCEABLE,
    Column(title="SELECTOR", value=lambda r: r.spec.selector or "all()", wide=True),
    Column(title="RULES", value=lambda r: f"{len(r.spec.ingress)} in, {len(r.spec.egress)} out", wide=True),
    WHY,
)
