"""Calico's tiers and policies: who is selected, in which order, and how a tier ends. One sentence each (its pages: tier, policy)."""

from collections.abc import Callable
from typing import Any

import pytest

from federation.simulation.probes import Judge

Ask = Callable[..., str]
Asker = Callable[..., Ask]
Judges = Callable[..., Judge]
ALLOW, DENY = "[{action: Allow}]", "[{action: Deny}]"


def doc(kind: str, name: str, spec: str, meta: str = "") -> str:
    return (
        f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{meta}}}, spec: {spec}}}"
    )


def gnp(name: str, spec: str) -> str:
    """On x/a."""
    return doc(
        "GlobalNetworkPolicy", name, f"{{selector: pod == 'a' && projectcalico.org/namespace == 'x', {spec}}}"
    )


def ingress(name: str, action: str, more: str = "") -> str:
    return gnp(name, f"ingress: [{{action: {action}}}]{', ' + more if more else ''}")


def tier(name: str, spec: str = "") -> str:
    return doc("Tier", name, f"{{{spec}}}")


def decided(judge: Judge, source: str = "x/b", to: str = "x/a", side: str = "ingress") -> dict[str, Any]:
    answer = judge.answer({"from": source, "to": to, "port": 80})
    found = answer[side]
    assert isinstance(found, dict)
    return found


def test_a_policy_without_order_comes_after_all_that_have_one(ask: Asker) -> None:
    assert ask(ingress("a", "Deny"), ingress("z", "Allow", "order: 1000000000"))("x/b", "x/a") == "Allow"


def test_orders_are_numbers_below_zero_and_between_two_as_well(ask: Asker) -> None:
    assert (
        ask(ingress("a", "Deny", "order: 0.5"), ingress("z", "Allow", "order: -1"))("x/b", "x/a") == "Allow"
    )
    assert ask(ingress("a", "Deny", "order: 1"), ingress("z", "Allow", "order: 0.5"))("x/b", "x/a") == "Allow"


def test_of_one_order_allow_dns_comes_before_allow_since_the_slash_counts(ask: Asker) -> None:
    assert (
        ask(ingress("allow", "Deny", "order: 1"), ingress("allow-dns", "Allow", "order: 1"))("x/b", "x/a")
        == "Allow"
    )
    assert ask(ingress("allow", "Deny"), ingress("allow-dns", "Allow"))("x/b", "x/a") == "Allow"


def test_of_one_order_and_name_the_policy_without_namespace_comes_first(ask: Asker) -> None:
    own = doc("NetworkPolicy", "p", f"{{ingress: {DENY}}}", ", namespace: x")
    assert ask(own, ingress("p", "Allow"))("x/b", "x/a") == "Allow"


def test_a_policy_belongs_to_the_default_tier_unless_it_names_another(judge_of: Judges) -> None:
    for spec in ("", "tier: ''", "tier: default"):
        assert decided(judge_of(ingress("p", "Deny", spec)))["tier"] == "default"


def test_policies_of_a_tier_that_is_missing_still_apply_after_all_others_and_it_denies(
    judge_of: Judges, ask: Asker
) -> None:
    gone = gnp("g", "tier: gone, order: 1, ingress: [{action: Allow, source: {selector: pod == 'b'}}]")
    late = tier("late")
    assert [ask(gone)(peer, "x/a") for peer in ("x/b", "y/a")] == ["Allow", "Deny"]
    assert decided(judge_of(gone), "y/a")["tier"] == "gone"
    assert ask(gone, late, ingress("z", "Deny", "tier: late"))("x/b", "x/a") == "Deny"
    assert decided(judge_of(gone, late, ingress("z", "Pass", "tier: late")))["tier"] == "gone"


def test_tiers_of_one_order_go_by_name_and_one_without_order_comes_last(judge_of: Judges) -> None:
    both = (ingress("p", "Allow", "tier: b"), ingress("q", "Allow", "tier: c"), tier("c", "order: 5"))
    assert decided(judge_of(*both, tier("b", "order: 5")))["tier"] == "b"
    assert decided(judge_of(*both, tier("b")))["tier"] == "c"
    assert (
        decided(judge_of(ingress("p", "Allow", "tier: b"), ingress("d", "Allow"), tier("b")))["tier"]
        == "default"
    )


@pytest.mark.parametrize(("first", "then"), [("kube-admin", "default"), ("default", "kube-baseline")])
def test_reserved_tiers_need_no_document_and_stand_where_they_stand(
    judge_of: Judges, first: str, then: str
) -> None:
    policies = (
        ingress("a", "Allow", f"tier: {then}, order: 1"),
        ingress("b", "Allow", f"tier: {first}, order: 2"),
    )
    assert decided(judge_of(*policies))["tier"] == first


def test_reserved_tiers_of_administrators_pass_and_the_default_tier_denies(ask: Asker) -> None:
    nothing = "ingress: [{action: Allow, protocol: UDP}]"
    said = {
        name: ask(gnp("p", f"tier: {name}, {nothing}"))("x/b", "x/a")
        for name in ("kube-admin", "default", "kube-baseline")
    }
    assert said == {"kube-admin": "Allow", "default": "Deny", "kube-baseline": "Allow"}


def test_a_tiers_default_action_is_of_those_that_it_selects_in_that_direction_only(ask: Asker) -> None:
    said = ask(tier("t", "order: 1"), gnp("p", "tier: t, ingress: []"))
    assert [said("x/b", "x/a"), said("x/a", "x/b"), said("x/a", "y/a"), said("y/a", "x/b")] == [
        "Deny",
        "Allow",
        "Allow",
        "Allow",
    ]


def test_a_tier_with_staged_policies_alone_has_no_default_action(ask: Asker) -> None:
    staged = doc("StagedGlobalNetworkPolicy", "s", f"{{tier: t, selector: all(), ingress: {DENY}}}")
    assert ask(tier("t", "order: 1"), staged)("x/b", "x/a") == "Allow"


def test_one_policy_of_the_tier_that_matches_nothing_is_enough_for_its_end(judge_of: Judges) -> None:
    found = decided(
        judge_of(tier("t", "order: 1"), gnp("p", "tier: t, ingress: [{action: Allow, protocol: UDP}]"))
    )
    assert (found["verdict"], found["tier"], found["policy"], found["default"]) == ("Deny", "t", None, "tier")


def test_log_goes_on_and_a_policy_of_log_alone_denies_at_the_tiers_end(ask: Asker) -> None:
    assert ask(gnp("p", "ingress: [{action: Log}, {action: Allow}]"))("x/b", "x/a") == "Allow"
    assert ask(ingress("p", "Log"))("x/b", "x/a") == "Deny"


def test_pass_ends_the_tier_not_only_the_policy_and_in_the_last_tier_goes_on_to_profiles(ask: Asker) -> None:
    first = tier("t", "order: 1")
    passing = ingress("a", "Pass", "tier: t, order: 1")
    assert ask(first, passing, ingress("b", "Deny", "tier: t, order: 2"))("x/b", "x/a") == "Allow"
    assert ask(first, passing, ingress("c", "Deny"))("x/b", "x/a") == "Deny"
    profile = doc("Profile", "kns.x", f"{{ingress: {DENY}, egress: {ALLOW}}}")
    assert ask(profile, ingress("a", "Pass"))("x/b", "x/a") == "Deny"
    assert ask(profile, ingress("a", "Allow"))("x/b", "x/a") == "Allow"


TYPES = [
    ("", "Deny", "Allow"), ("ingress: []", "Deny", "Allow"), ("ingress: [], egress: []", "Deny", "Allow"), ("types: []", "Deny", "Allow"),
    ("egress: [{action: Deny}]", "Allow", "Deny"), ("ingress: [{action: Deny}], egress: [{action: Deny}]", "Deny", "Deny"),
    ("types: [Egress]", "Allow", "Deny"), ("types: [Ingress, Egress]", "Deny", "Deny"),
    ("types: [Ingress], egress: [{action: Deny}]", "Deny", "Allow"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "to_it", "from_it"), TYPES)
def test_types_are_inferred_from_the_rules_when_they_are_empty(
    ask: Asker, spec: str, to_it: str, from_it: str
) -> None:
    said = ask(gnp("p", spec))
    assert [said("x/b", "x/a"), said("x/a", "x/b")] == [to_it, from_it]


def test_a_network_policys_selector_is_of_its_namespace_and_an_empty_one_is_all(ask: Asker) -> None:
    for selector in ("", "selector: '', ", "selector: all(), ", "selector: \"pod != 'zz' || has(zz)\", "):
        said = ask(doc("NetworkPolicy", "p", f"{{{selector}ingress: {DENY}}}", ", namespace: x"))
        assert [said("y/b", to) for to in ("x/a", "x/b", "y/a")] == ["Deny", "Deny", "Allow"]


def test_a_namespace_selector_takes_the_namespaces_labels_and_its_name(ask: Asker) -> None:
    for text in (
        "tenant == 'blue'",
        "kubernetes.io/metadata.name == 'y'",
        "projectcalico.org/name in {'y'}",
        "has(tenant)",
    ):
        said = ask(doc("GlobalNetworkPolicy", "p", f'{{namespaceSelector: "{text}", ingress: {DENY}}}'))
        assert [said("x/a", "y/a"), said("y/a", "x/a")] == ["Deny", "Allow"]
    said = ask(
        doc(
            "GlobalNetworkPolicy", "p", f"{{namespaceSelector: all(), selector: pod == 'a', ingress: {DENY}}}"
        )
    )
    assert [said("x/b", to) for to in ("x/a", "y/a", "y/b")] == ["Deny", "Deny", "Allow"]


def test_a_service_account_selector_takes_the_accounts_labels_and_its_name(ask: Asker) -> None:
    for text in ("kind == 'machine'", "projectcalico.org/name == 'robot'", "has(kind)"):
        said = ask(doc("GlobalNetworkPolicy", "p", f'{{serviceAccountSelector: "{text}", ingress: {DENY}}}'))
        assert [said("x/a", to) for to in ("y/a", "y/b")] == ["Deny", "Allow"]
    said = ask(
        doc(
            "NetworkPolicy",
            "p",
            f"{{serviceAccountSelector: '!has(kind)', ingress: {DENY}}}",
            ", namespace: y",
        )
    )
    assert [said("x/a", to) for to in ("y/a", "y/b", "x/b")] == ["Allow", "Deny", "Allow"]


def test_performance_hints_change_no_verdict(ask: Asker) -> None:
    said = ask(gnp("p", "performanceHints: [AssumeNeededOnEveryNode], ingress: []"))
    assert [said("x/b", to) for to in ("x/a", "y/a")] == ["Deny", "Allow"]


def test_egress_of_the_source_and_ingress_of_the_destination_must_both_allow(judge_of: Judges) -> None:
    out = doc("NetworkPolicy", "out", f"{{egress: {DENY}}}", ", namespace: y")
    into = doc("NetworkPolicy", "in", f"{{ingress: {ALLOW}}}", ", namespace: x")
    answer = judge_of(out, into).answer({"from": "y/a", "to": "x/a", "port": 80})
    assert (answer["verdict"], answer["egress"]["verdict"], answer["ingress"]["verdict"]) == (
        "Deny",
        "Deny",
        "Allow",
    )


def test_the_first_rule_that_matches_ends_its_tier_and_is_named(judge_of: Judges) -> None:
    rules = "[{action: Deny, protocol: UDP}, {action: Log}, {action: Allow}, {action: Deny}]"
    found = decided(judge_of(gnp("p", f"ingress: {rules}")))
    assert (found["verdict"], found["rule"], found["policy"]["name"]) == ("Allow", 2, "p")
