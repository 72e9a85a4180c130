"""What GlobalNetworkPolicy, NetworkPolicy and their staged kinds share: the check and the completion at the door.

Semantics: Calico's (docs: reference/resources/globalnetworkpolicy). The checks of single rules stand in `checks.py`.
"""

from collections.abc import Iterable
from dataclasses import replace

from federation.errors import Fault, SelectorError
from federation.resources.kind import Column
from federation.resources.metadata import Resource, Status
from federation.rules.checks import rule_faults
from federation.rules.model import PolicySpec
from federation.selectors import parse

MAX_RULES = 1024
"""In one direction (as in Calico's API)."""

Policy = Resource[PolicySpec, Status]


def check(policy: Policy) -> Iterable[Fault]:
    """Every fault of a policy's selectors, types and rules."""
    spec = policy.spec
    for field_name, text in (
        ("selector", spec.selector),
        ("namespaceSelector", spec.namespace_selector),
        ("serviceAccountSelector", spec.service_account_selector),
    ):
        yield from selector_faults(f"/spec/{field_name}", text)
    for index, direction in enumerate(spec.types):
        if direction not in ("Ingress", "Egress"):
            yield Fault(f"/spec/types/{index}", f"{direction!r} is not one of Ingress, Egress")
    yield from _host_faults(policy)
    for direction, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        if len(rules) > MAX_RULES:
            yield Fault(f"/spec/{direction}", f"more than {MAX_RULES} rules")
        for index, rule in enumerate(rules):
            yield from rule_faults(f"/spec/{direction}/{index}", rule)


def _host_faults(policy: Policy) -> Iterable[Fault]:
    """What doNotTrack, preDNAT and applyOnForward ask of the rest."""
    spec = policy.spec
    chosen = [
        name for name, is_set in (("doNotTrack", spec.do_not_track), ("preDNAT", spec.pre_dnat)) if is_set
    ]
    if (chosen or spec.apply_on_forward) and policy.metadata.namespace:
        yield Fault("/spec", "doNotTrack, preDNAT and applyOnForward are for GlobalNetworkPolicies")
    if len(chosen) > 1:
        yield Fault("/spec/preDNAT", "not together with doNotTrack")
    if chosen and not spec.apply_on_forward:
        yield Fault("/spec/applyOnForward", f"{chosen[0]} needs it to be true")
    if spec.pre_dnat and (spec.egress or "Egress" in spec.types):
        yield Fault("/spec/egress", "preDNAT policies have ingress rules only")
    is_staged = policy.kind.startswith("Staged")
    if spec.staged_action and not is_staged:
        yield Fault("/spec/stagedAction", "is for staged kinds")
    if is_staged and spec.staged_action not in ("", "Set", "Delete", "Learn", "Ignore"):
        yield Fault("/spec/stagedAction", "is not one of Set, Delete, Learn, Ignore")
    if spec.staged_action == "Delete" and replace(spec, tier="", types=()) != PolicySpec(
        tier="", staged_action="Delete"
    ):
        yield Fault("/spec", "a staged Delete has a tier, and nothing else")


def selector_faults(pointer: str, text: str) -> Iterable[Fault]:
    """The fault of one selector, with its position, if it does not parse."""
    try:
        parse(text)
    except SelectorError as error:
        yield Fault(pointer, error.message)


def complete(policy: Policy) -> Policy:
    """Infer `types`: Egress when there are egress rules; Ingress unless there are only egress rules."""
    spec = policy.spec
    if spec.types:
        return policy
    types = [] if spec.egress and not spec.ingress else ["Ingress"]
    if spec.egress:
        types.append("Egress")
    return replace(policy, spec=replace(spec, types=tuple(types)))


COLUMNS = (
    Column(title="TIER", value=lambda r: r.spec.tier),
    Column(title="ORDER", value=lambda r: "" if r.spec.order is None else f"{r.spec.order:g}"),
    Column(title="TYPES", value=lambda r: ",".join(r.spec.types)),
    Column(title="SELECTOR", value=lambda r: r.spec.selector or "all()", wide=True),
    Column(title="RULES", value=lambda r: f"{len(r.spec.ingress)} in, {len(r.spec.egress)} out", wide=True),
)
