"""Kubernetes' NetworkPolicy, one sentence each."""

from collections.abc import Callable
from typing import Any

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def policy(spec: str, namespace: str = "x", name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"


def test_a_pod_that_no_policy_selects_is_open(ask: Asker) -> None:
    said = ask(policy("{podSelector: {matchLabels: {pod: a}}}"))
    assert said("x/a", "x/b") == "Allow"
    assert said("y/a", "x/a") == "Deny"


def test_absent_and_empty_ingress_isolate_alike(ask: Asker) -> None:
    for spec in ("{podSelector: {}}", "{podSelector: {}, ingress: []}", "{podSelector: {}, ingress: null}"):
        said = ask(policy(spec))
        assert said("y/a", "x/a") == "Deny"
        assert said("x/a", "y/a") == "Allow"


def test_a_pod_always_reaches_itself(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, policyTypes: [Ingress, Egress]}"))
    assert said("x/a", "x/a") == "Allow"
    assert said("x/a", "x/b") == "Deny"


def test_egress_rules_without_types_isolate_both_ways(ask: Asker) -> None:
    said = ask(policy("{podSelector: {matchLabels: {pod: a}}, egress: [{to: [{podSelector: {}}]}]}"))
    assert said("x/a", "x/b") == "Allow"
    assert said("x/a", "y/a") == "Deny"
    assert said("x/b", "x/a") == "Deny"


def test_an_empty_rule_lets_everybody_in(ask: Asker) -> None:
    for rule in ("{}", "{from: []}", "{from: null, ports: []}"):
        said = ask(policy(f"{{podSelector: {{}}, ingress: [{rule}]}}"))
        assert said("y/a", "x/a") == "Allow"
        assert said("8.8.8.8", "x/a") == "Allow"
        assert said("y/a", "x/a", None, "ICMP") == "Allow"


def test_a_pod_selector_alone_means_the_policys_namespace(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"))
    assert said("x/b", "x/a") == "Allow"
    assert said("y/b", "x/a") == "Deny"
    assert said("8.8.8.8", "x/a") == "Deny"


def test_a_namespace_selector_means_all_its_pods_and_only_pods(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"))
    assert said("y/b", "x/a") == "Allow"
    assert said("8.8.8.8", "x/a") == "Deny"
    assert said("host:n2", "x/a") == "Deny"


def test_both_selectors_of_one_peer_must_hold_and_peers_are_alternatives(ask: Asker) -> None:
    both = "{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}"
    said = ask(policy(f"{{podSelector: {{}}, ingress: [{{from: [{both}]}}]}}"))
    assert [said(f"y/{p}", "x/a") for p in "ab"] == ["Allow", "Deny"]
    apart = "{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}"
    said = ask(policy(f"{{podSelector: {{}}, ingress: [{{from: [{apart}]}}]}}"))
    assert [said(p, "x/a") for p in ("y/a", "y/b", "x/b")] == ["Allow", "Allow", "Allow"]


def test_expressions_and_missing_labels(ask: Asker) -> None:
    def named(expression: str) -> list[str]:
        peer = f"{{namespaceSelector: {{matchExpressions: [{expression}]}}}}"
        said = ask(policy(f"{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"))
        return [said("x/b", "x/a"), said("y/b", "x/a")]

    assert named("{key: tenant, operator: NotIn, values: [blue]}") == ["Allow", "Deny"]
    assert named("{key: tenant, operator: In, values: [blue]}") == ["Deny", "Allow"]
    assert named("{key: tenant, operator: DoesNotExist}") == ["Allow", "Deny"]
    assert named("{key: tenant, operator: Exists}") == ["Deny", "Allow"]
    assert named("{key: kubernetes.io/metadata.name, operator: In, values: [x]}") == ["Allow", "Deny"]


def test_ports_are_tcp_unless_said_and_named_ones_are_the_destinations(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{ports: [{port: 80}, {port: dns, protocol: UDP}]}]}"))
    assert said("y/a", "x/a", 80) == "Allow"
    assert said("y/a", "x/a", 80, "UDP") == "Deny"
    assert said("y/a", "x/a", 53, "UDP") == "Allow"
    assert said("y/a", "x/a", 53) == "Deny"
    assert said("y/a", "x/a", None, "ICMP") == "Deny"


def test_a_named_port_of_another_protocol_is_none(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{ports: [{port: dns}]}]}"))
    assert said("y/a", "x/a", 53, "UDP") == "Deny"


def test_a_protocol_alone_is_all_its_ports_and_ranges_include_both_ends(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{ports: [{protocol: SCTP}, {port: 80, endPort: 90}]}]}"))
    assert said("y/a", "x/a", 7, "SCTP") == "Allow"
    assert [said("y/a", "x/a", p) for p in (79, 80, 90, 91)] == ["Deny", "Allow", "Allow", "Deny"]


def test_ip_blocks_hold_pods_too_and_except_what_they_except(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24]}}]}], policyTypes: [Egress]}"))  # fmt: skip
    assert said("x/a", "x/b") == "Allow"
    assert said("x/a", "y/a") == "Deny"
    assert said("x/a", "10.0.9.9") == "Allow"


def test_a_policy_for_ipv6_prefixes_judges_ipv6(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/64', except: ['fd00::2/128']}}]}]}"))  # fmt: skip
    assert said("fd00::1", "x/b") == "Allow"
    assert said("fd00::2", "x/a") == "Deny"
    assert said("8.8.8.8", "x/a") == "Deny"


def test_the_union_of_policies_counts(ask: Asker) -> None:
    said = ask(
        policy("{podSelector: {}, ingress: []}"),
        policy(
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}", "x", "q"
        ),
    )
    assert said("y/a", "x/a") == "Allow"
    assert said("y/a", "x/b") == "Deny"


def test_the_pods_own_host_comes_in_and_pods_on_the_host_network_are_not_policed(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}}"), policy("{podSelector: {}, policyTypes: [Ingress, Egress]}", "y"))
    assert said("host:n1", "x/a") == "Allow"
    assert said("host:n2", "x/a") == "Deny"
    assert said("y/h", "x/b") == "Allow"
    assert said("x/a", "y/h") == "Allow"


def test_the_answer_names_the_rule_or_the_end_of_the_tier(judge_of: Callable[..., Any]) -> None:
    judge = judge_of(
        policy("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 81}]}]}")
    )
    answer: dict[str, Any] = judge.answer({"from": "y/a", "to": "x/a", "port": 81})
    wanted = {"kind": "NetworkPolicy", "namespace": "x", "name": "p"}
    assert (answer["ingress"]["policy"], answer["ingress"]["rule"]) == (wanted, 1)
    answer = judge.answer({"from": "y/a", "to": "x/a", "port": 82}, has_trace=True)
    assert (answer["ingress"]["policy"], answer["ingress"]["default"], answer["ingress"]["tier"]) == (None, "tier", "default")  # fmt: skip
    assert [s["mismatch"] for s in answer["ingress"]["trace"]] == ["source.selector", "destination.ports", "no rule matched"]  # fmt: skip


def test_the_old_group_of_network_policies_is_not_passed_over(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}}").replace("networking.k8s.io/v1", "extensions/v1beta1"))
    assert said("y/a", "x/a") == "Deny"


def test_a_policy_that_is_only_staged_judges_nothing(ask: Asker) -> None:
    staged = "{apiVersion: projectcalico.org/v3, kind: StagedKubernetesNetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {}}}"
    assert ask(staged)("y/a", "x/a") == "Allow"
