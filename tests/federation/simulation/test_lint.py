"""What lint finds, each with its witness, and what it leaves alone."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.policy.tables import Direction
from federation.simulation.lint import Finding, findings
from federation.simulation.probes import Judge
from federation.simulation.shadows import covers, shadows

JudgeOf = Callable[..., Judge]


def gnp(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


def tier(name: str, order: int, action: str = "Deny") -> str:
    return f"{{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {{name: {name}}}, spec: {{order: {order}, defaultAction: {action}}}}}"


def linted(judge: Judge) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings(judge.engine)}


def test_a_sound_set_has_no_finding(judge_of: JudgeOf) -> None:
    text = gnp(
        "{namespaceSelector: ns == 'x', ingress: [{action: Deny, protocol: TCP, destination: {ports: [80]}}, {action: Allow}]}"
    )
    assert findings(judge_of(text).engine) == []


def test_a_rule_behind_a_wider_one_is_shadowed_and_the_wider_one_is_the_witness(judge_of: JudgeOf) -> None:
    wide = "{action: Allow, protocol: TCP, destination: {ports: ['80:90']}}"
    narrow = "{action: Deny, protocol: TCP, source: {nets: [10.0.1.0/24]}, destination: {ports: [85]}}"
    found = linted(judge_of(gnp(f"{{namespaceSelector: all(), ingress: [{wide}, {narrow}]}}")))[
        "shadowed-rule"
    ]
    assert found.pointer == "/spec/ingress/1"
    assert found.witness == "/spec/ingress/0 (Allow) takes all of it"
    for other in (
        "{action: Allow, protocol: UDP}",
        "{action: Log}",
        "{action: Allow, protocol: TCP, destination: {ports: [85]}}",
        "{action: Allow, http: {methods: [GET]}}",
    ):
        assert "shadowed-rule" not in linted(
            judge_of(gnp(f"{{namespaceSelector: all(), ingress: [{other}, {wide}]}}"))
        )


def test_a_rule_behind_another_policy_of_its_tier_is_shadowed_when_that_applies_to_all_its_subjects(
    judge_of: JudgeOf,
) -> None:
    late = "{order: 9, selector: pod == 'a', namespaceSelector: ns == 'x', ingress: [{action: Allow, protocol: TCP}]}"
    early = "{order: 1, namespaceSelector: %s, ingress: [{action: Deny}]}"
    found = linted(judge_of(gnp(late, "late"), gnp(early % "ns == 'x'", "early")))["shadowed-rule"]
    assert (found.policy and found.policy.name, found.pointer) == ("late", "/spec/ingress/0")
    assert found.witness == "GlobalNetworkPolicy early /spec/ingress/0 (Deny) takes all of it"
    for other in (early % "ns == 'y'", late.replace("order: 9", "order: 10"), "{order: 1, namespaceSelector: all(), egress: [{action: Deny}]}", "{tier: other, order: 1, namespaceSelector: all(), ingress: [{action: Deny}]}"):  # fmt: skip
        judge = judge_of(gnp(late, "late"), gnp(other, "other"))
        assert "late" not in {shadow.policy.name for shadow in shadows(judge.engine.world)}


def test_selectors_of_nobody_are_found_on_the_policy_and_in_its_rules(judge_of: JudgeOf) -> None:
    assert (
        linted(judge_of(gnp("{selector: app == 'typo', ingress: [{action: Allow}]}")))[
            "selects-nothing"
        ].witness
        == 'app == "typo"'
    )
    found = linted(
        judge_of(
            gnp("{namespaceSelector: all(), ingress: [{action: Allow, source: {selector: pod == 'typo'}}]}")
        )
    )
    assert found["peer-matches-nothing"].pointer == "/spec/ingress/0"


def test_a_policy_that_would_lock_hosts_is_found_and_a_guard_is_enough(judge_of: JudgeOf) -> None:
    assert "selects-hosts" in linted(judge_of(gnp("{selector: all(), ingress: [{action: Allow}]}")))
    for guarded in (
        "{selector: has(projectcalico.org/namespace), ingress: [{action: Allow}]}",
        "{namespaceSelector: all(), ingress: [{action: Allow}]}",
    ):
        assert "selects-hosts" not in linted(judge_of(gnp(guarded)))


def test_a_tier_behind_one_that_decides_everything_is_unreachable(judge_of: JudgeOf) -> None:
    late = gnp("{tier: late, namespaceSelector: all(), ingress: [{action: Allow}]}", "b")
    early = "{tier: early, namespaceSelector: all(), ingress: [{action: %s}]}"
    found = linted(judge_of(tier("early", 1), tier("late", 2), gnp(early % "Allow", "a"), late))[
        "unreachable-tier"
    ]
    assert found.message == "tier late is never reached"
    assert "tier early decides everything" in found.witness
    assert "unreachable-tier" not in linted(
        judge_of(tier("early", 1), tier("late", 2), gnp(early % "Pass", "a"), late)
    )
    part = gnp("{tier: early, namespaceSelector: ns == 'x', ingress: [{action: Allow}]}", "a")
    assert "unreachable-tier" not in linted(judge_of(tier("early", 1), tier("late", 2), part, late))


def test_a_tier_that_is_not_there_and_a_rule_that_is_not_enforced_are_said(judge_of: JudgeOf) -> None:
    found = linted(
        judge_of(
            gnp("{tier: gone, namespaceSelector: all(), ingress: [{action: Allow, http: {methods: [GET]}}]}")
        )
    )
    assert found["unknown-tier"].witness == "gone"
    assert found["not-enforced"].witness == "http"


RULES: list[dict[str, Any]] = [
    {"action": a, **p, **s, **d}
    for a in ("Allow", "Deny")
    for p in ({}, {"protocol": "TCP"})
    for s in (
        {},
        {"source": {"selector": "pod == 'a'"}},
        {"source": {"nets": ["10.0.0.0/16"]}},
        {"source": {"nets": ["10.0.1.0/24"]}},
    )
    for d in ({}, {"destination": {"ports": [80]}}, {"destination": {"ports": ["70:90"], "notPorts": [85]}})
    if not d or p
]


SUBJECTS = [
    "namespaceSelector: all()",
    "namespaceSelector: ns == 'x'",
    "namespaceSelector: ns == 'x', selector: pod == 'a'",
    "selector: pod == 'a'",
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SUBJECTS), st.lists(st.sampled_from(RULES), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_a_rule_said_to_be_shadowed_never_decides(
    judge_of: JudgeOf, policies: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    texts = [
        gnp(f"{{order: {n}, {subject}, ingress: {rules}}}", f"p{n}")
        for n, (subject, rules) in enumerate(policies)
    ]
    judge = judge_of(*texts)
    hidden = {(shadow.policy.name, shadow.rule.index) for shadow in shadows(judge.engine.world)}
    decided = set()
    for source in ("x/b", "y/a", "8.8.8.8"):
        for port in (79, 80, 85):
            for protocol in ("TCP", "UDP"):
                asked = {"from": source, "to": "x/a", "port": port, "protocol": protocol}
                side = judge.answer(asked)["ingress"]
                decided.add(((side["policy"] or {}).get("name"), side["rule"]))
    assert not hidden & decided


def test_what_covers_is_asked_of_fields_not_of_texts(judge_of: JudgeOf) -> None:
    judge = judge_of(
        gnp(
            "{namespaceSelector: all(), ingress: [{action: Allow, protocol: tcp}, {action: Deny, protocol: 6}]}"
        )
    )
    (policy,) = judge.engine.world.policies
    first, second = policy.rules(Direction.INGRESS) or ()
    assert covers(first, second)
