"""What of a policy this release carries out, as the condition that its resource shows: nothing is weaker in silence."""

from collections.abc import Iterable, Iterator

from federation.policy import model
from federation.policy.model import PartyKind
from federation.resources.metadata import Condition

ENFORCEABLE = "Enforceable"
UNPOLICED = (
    "a host is policed where a HostEndpoint names it; others are judged by simulate and explain, not enforced"
)
MAX_REASONS = 20
"""Lines of one message; how many more there are is said."""


def enforceable(policies: Iterable[model.Policy]) -> Condition:
    """True when kernels carry out every rule; else False, the reason and, rule by rule, what happens instead.

    `policies` are those of one document. Reasons: `Staged` (kept, judged on request), `Partly` (some of it is closed or not for this
    platform), `Hosts` (it selects hosts only, of which kernels police those that a HostEndpoint names).
    """
    listed = list(policies)
    if any(policy.is_staged for policy in listed):
        return Condition(
            type=ENFORCEABLE,
            status="False",
            reason="Staged",
            message="it is staged: judged on request, never enforced",
        )
    if listed and not any(_selects_enforced(policy) for policy in listed):
        return Condition(
            type=ENFORCEABLE, status="False", reason="Hosts", message=f"it selects hosts: {UNPOLICED}"
        )
    reasons = [reason for policy in listed for reason in _reasons(policy)]
    return _whole_but_for(reasons)


def enforceable_host() -> Condition:
    """Of a HostEndpoint: its node polices it; what of its policies is not carried out, these say."""
    return Condition(type=ENFORCEABLE, status="True", reason="Whole")


def enforceable_profile(policy: model.Policy) -> Condition:
    """Of a Profile."""
    return _whole_but_for(_reasons(policy))


def _whole_but_for(found: Iterable[str]) -> Condition:
    reasons = list(dict.fromkeys(found))
    if not reasons:
        return Condition(type=ENFORCEABLE, status="True", reason="Whole")
    shown = reasons[:MAX_REASONS]
    if len(reasons) > MAX_REASONS:
        shown.append(f"and {len(reasons) - MAX_REASONS} more")
    return Condition(type=ENFORCEABLE, status="False", reason="Partly", message="; ".join(shown))


def _selects_enforced(policy: model.Policy) -> bool:
    """Whether a policy may select what kernels police. A host that no HostEndpoint names is never policed."""
    kinds = policy.subject.kinds
    if kinds is None or PartyKind.HOST_ENDPOINT in kinds:
        return True
    return policy.stage is model.Stage.NORMAL and PartyKind.WORKLOAD in kinds


def _reasons(policy: model.Policy) -> Iterator[str]:
    for rule in (*(policy.ingress or ()), *(policy.egress or ())):
        at = f"{rule.section}/{rule.index}"
        if rule.lacks:
            instead = "denies by all the rest" if rule.action == "Deny" else "never matches"
            yield f"{at}: {', '.join(rule.lacks)} is not enforced by this release: the rule {instead}"
        if rule.action == "Deny" and policy.is_for_own_host and _is_of_own_host(rule):
            yield f"{at}: what a workload's own host sends is always let in by the kernel of this release"


def _is_of_own_host(rule: model.Rule) -> bool:
    """Whether an ingress rule may mean the subject's own host."""
    peer = rule.source
    is_ingress = "ingress" in rule.section
    is_for_hosts = peer.kinds is None or PartyKind.HOST in peer.kinds
    return is_ingress and is_for_hosts and peer.near is not model.Near.OTHER_HOST
