"""What is odd about policies: each finding with its witness. Pure: it looks at the model and at what stands."""

from collections.abc import Iterator
from dataclasses import dataclass

from federation.policy import model
from federation.policy.evaluate import Engine
from federation.policy.model import PartyKind, Stage
from federation.policy.parties import Party
from federation.policy.resolution import BUILT_IN, TierPolicies
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.simulation.shadows import covers, pointer_of, shadows

EMPTY = "selects nothing that stands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`check` is stable: shadowed-rule, selects-nothing, peer-matches-nothing, selects-hosts, unreachable-tier, unknown-tier,
    not-enforced."""

    check: str
    policy: ObjectKey | None
    pointer: str
    message: str
    witness: str


def findings(engine: Engine) -> list[Finding]:
    """All of them, policy by policy; then tiers."""
    found: list[Finding] = []
    for policy in engine.world.policies:
        found += _of_subject(engine, policy)
        for direction in Direction:
            rules = policy.rules(direction) or ()
            found += _of_peers(engine, policy, rules, direction)
    found += _of_shadows(engine)
    found += _of_tiers(engine)
    unique = {(f.check, f.policy, f.pointer): f for f in found}
    return sorted(unique.values(), key=lambda f: (str(f.policy), f.check, f.pointer))


def _of_subject(engine: Engine, policy: model.Policy) -> Iterator[Finding]:
    selected = [party for party in engine.parties if _selects(policy.subject, party)]
    selector = policy.subject.selector.text if policy.subject.selector else "all()"
    if not selected:
        yield Finding(
            check="selects-nothing",
            policy=policy.key,
            pointer="/spec",
            message=f"the policy {EMPTY}",
            witness=selector,
        )
    is_for_hosts = policy.subject.kinds is not None and PartyKind.HOST_ENDPOINT in policy.subject.kinds
    if is_for_hosts and PartyKind.WORKLOAD in (policy.subject.kinds or ()):
        hosts = [party for party in selected if PartyKind.HOST_ENDPOINT in party.kinds]
        workloads = [party for party in selected if PartyKind.WORKLOAD in party.kinds]
        is_any_host = policy.subject.selector is None or policy.subject.selector.matches({})
        if workloads and (hosts or is_any_host):
            witness = str(hosts[0].key) if hosts else "any HostEndpoint without labels"
            message = "selects hosts beside workloads; has(projectcalico.org/namespace) or a namespaceSelector keeps it off them"
            yield Finding(
                check="selects-hosts",
                policy=policy.key,
                pointer="/spec/selector",
                message=message,
                witness=witness,
            )


def _selects(match: model.Match, party: Party) -> bool:
    has_kind = match.kinds is None or not match.kinds.isdisjoint(party.kinds)
    return has_kind and (match.selector is None or match.selector.matches(party.labels))


def _of_peers(
    engine: Engine, policy: model.Policy, rules: tuple[model.Rule, ...], direction: Direction
) -> Iterator[Finding]:
    by_rule: dict[tuple[str, int], list[bool]] = {}
    texts: dict[tuple[str, int], str] = {}
    for rule in rules:
        if rule.lacks:
            yield Finding(
                check="not-enforced", policy=policy.key, pointer=pointer_of(rule), witness=", ".join(rule.lacks),
                message="is not enforced by this release: an allow allows nothing, a denial denies by all the rest",
            )  # fmt: skip
        peer = rule.source if direction is Direction.INGRESS else rule.destination
        place = (rule.section, rule.index)
        by_rule.setdefault(place, []).append(peer.selector is None or _is_somebody(engine, peer))
        texts[place] = pointer_of(rule)
    for place, answers in by_rule.items():
        if not any(answers):
            yield Finding(
                check="peer-matches-nothing",
                policy=policy.key,
                pointer=texts[place],
                message=f"its peer {EMPTY}",
                witness="no workload, host or network set",
            )


def _is_somebody(engine: Engine, match: model.Match) -> bool:
    if match.selector is None:
        return True
    if any(_selects(match, party) for party in engine.parties):
        return True
    has_sets = match.kinds is None or PartyKind.NETWORK_SET in match.kinds
    return has_sets and any(match.selector.matches(nets.labels) for nets in engine.world.network_sets)


def _of_shadows(engine: Engine) -> Iterator[Finding]:
    for shadow in shadows(engine.world):
        first, where = shadow.by, shadow.owner
        whose = "" if where == shadow.policy else f"{where} "
        yield Finding(
            check="shadowed-rule", policy=shadow.policy, pointer=pointer_of(shadow.rule), message="is never reached",
            witness=f"{whose}{pointer_of(first)} ({first.action}) takes all of it",
        )  # fmt: skip


def _of_tiers(engine: Engine) -> Iterator[Finding]:
    """Tiers that policies name and that do not exist, and tiers that no subject's traffic ever comes to."""
    reached: set[str] = set()
    stopped: dict[str, str] = {}
    for subject in engine.parties:
        for direction in Direction:
            tiers = engine.tiers(subject, direction, Stage.NORMAL)
            for place, tier in enumerate(tiers):
                reached.add(tier.name)
                if not _lets_pass(tier, direction):
                    for later in tiers[place + 1 :]:
                        stopped.setdefault(
                            later.name,
                            f"tier {tier.name} decides everything for {subject.key} ({direction.name.lower()})",
                        )
                    break
    for name in sorted({policy.tier for policy in engine.world.policies}):
        own = next(policy for policy in engine.world.policies if policy.tier == name)
        if name not in engine.world.tiers and name not in BUILT_IN:
            message = f"tier {name} does not exist: its policies come last and its end denies"
            yield Finding(
                check="unknown-tier", policy=own.key, pointer="/spec/tier", message=message, witness=name
            )
        if name in stopped and name not in reached:
            message = f"tier {name} is never reached"
            yield Finding(
                check="unreachable-tier",
                policy=None,
                pointer=f"tier {name}",
                message=message,
                witness=stopped[name],
            )


def _lets_pass(tier: TierPolicies, direction: Direction) -> bool:
    """Whether something may come through to the next tier."""
    if any(rule.action == "Pass" for policy in tier.policies for rule in policy.rules(direction) or ()):
        return True
    takes_all = model.Rule(action="Allow", index=0, section="")
    decides_all = any(
        covers(rule, takes_all) and rule.action != "Pass"
        for policy in tier.policies
        for rule in policy.rules(direction) or ()
    )
    return tier.is_passing and not decides_all
