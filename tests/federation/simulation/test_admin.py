"""Policies of cluster administrators, one sentence each."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]
ALL = "{namespaces: {}}"


def anp(spec: str, name: str = "p", kind: str = "AdminNetworkPolicy", version: str = "v1alpha1") -> str:
    return f"{{apiVersion: policy.networking.k8s.io/{version}, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}"


def banp(spec: str) -> str:
    return anp(spec, "default", "BaselineAdminNetworkPolicy")


def cnp(spec: str, name: str = "p") -> str:
    return anp(spec, name, "ClusterNetworkPolicy", "v1alpha2")


def np(spec: str) -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {spec}}}"


def ingress(action: str, peer: str = ALL, more: str = "", subject: str = ALL, priority: int = 5) -> str:
    return (
        f"{{priority: {priority}, subject: {subject}, ingress: [{{action: {action}, from: [{peer}]{more}}}]}}"
    )


def egress(action: str, peer: str, more: str = "") -> str:
    return f"{{priority: 5, subject: {ALL}, egress: [{{action: {action}, to: [{peer}]{more}}}]}}"


def test_it_does_not_isolate_what_it_selects(ask: Asker) -> None:
    said = ask(anp(ingress("Deny", "{namespaces: {matchLabels: {ns: y}}}")))
    assert said("y/a", "x/a") == "Deny"
    assert said("x/b", "x/a") == "Allow"
    assert said("8.8.8.8", "x/a") == "Allow"


def test_it_comes_before_network_policies_and_the_baseline_after(ask: Asker) -> None:
    isolate = np("{podSelector: {}}")
    assert ask(isolate, anp(ingress("Allow")))("y/a", "x/a") == "Allow"
    assert ask(isolate, anp(ingress("Pass")))("y/a", "x/a") == "Deny"
    deny = banp(f"{{subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}]}}]}}")
    said = ask(deny, np("{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}"))
    assert said("y/a", "x/a") == "Allow"
    assert said("y/a", "x/b") == "Deny"
    allow = banp(f"{{subject: {ALL}, ingress: [{{action: Allow, from: [{ALL}]}}]}}")
    assert ask(allow, isolate)("y/a", "x/a") == "Deny"


def test_the_lower_priority_number_wins_and_the_first_rule_in_a_policy(ask: Asker) -> None:
    assert (
        ask(anp(ingress("Deny", priority=3), "a"), anp(ingress("Allow", priority=2), "b"))("y/a", "x/a")
        == "Allow"
    )
    two = f"{{priority: 1, subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}]}}, {{action: Allow, from: [{ALL}]}}]}}"
    assert ask(anp(two))("y/a", "x/a") == "Deny"


def test_pass_skips_the_rest_of_the_tier(ask: Asker) -> None:
    passes, denies = anp(ingress("Pass", priority=1), "a"), anp(ingress("Deny", priority=2), "b")
    assert ask(passes, denies)("y/a", "x/a") == "Allow"


def test_subjects_are_pods_in_namespaces(ask: Asker) -> None:
    subject = "{pods: {namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}}"
    said = ask(anp(ingress("Deny", subject=subject)))
    assert [said("y/a", pod) for pod in ("x/a", "x/b", "y/b")] == ["Deny", "Allow", "Allow"]


def test_negative_selectors_stay_inside_pods(ask: Asker) -> None:
    said = ask(
        anp(ingress("Deny", "{namespaces: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}"))
    )
    assert said("y/a", "x/a") == "Deny"
    assert said("x/b", "x/a") == "Allow"
    assert said("8.8.8.8", "x/a") == "Allow"
    assert said("host:n2", "x/a") == "Allow"


def test_ports_by_number_range_and_name(ask: Asker) -> None:
    ports = ", ports: [{portNumber: {protocol: UDP, port: 9}}, {portRange: {start: 20, end: 22}}, {namedPort: http}]"
    said = ask(anp(ingress("Deny", more=ports)))
    asked = [(9, "UDP"), (9, "TCP"), (20, "TCP"), (22, "TCP"), (23, "TCP"), (80, "TCP"), (80, "UDP")]
    assert [said("y/a", "x/a", *each) for each in asked] == [
        "Deny",
        "Allow",
        "Deny",
        "Deny",
        "Allow",
        "Deny",
        "Allow",
    ]


def test_egress_to_nodes_and_networks(ask: Asker) -> None:
    said = ask(anp(egress("Deny", "{nodes: {matchLabels: {zone: b}}}")))
    assert said("x/a", "host:n2") == "Deny"
    assert said("x/a", "host:n1") == "Allow"
    assert said("x/a", "x/b") == "Allow"
    said = ask(anp(egress("Deny", "{networks: [10.0.1.0/24, 8.0.0.0/8]}")))
    assert [said("x/a", to) for to in ("8.8.8.8", "y/a", "x/b")] == ["Deny", "Deny", "Allow"]


def test_an_allow_for_domain_names_is_carried_and_never_wider(ask: Asker) -> None:
    said = ask(cnp(f"{{tier: Admin, priority: 1, subject: {ALL}, egress: [{{action: Accept, to: [{{domainNames: [a.example]}}]}}, {{action: Deny, to: [{{networks: [0.0.0.0/0]}}]}}]}}"))  # fmt: skip
    assert said("x/a", "8.8.8.8") == "Deny"


def test_cluster_network_policies_have_tiers_and_protocols(ask: Asker) -> None:
    protocols = "protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {range: {start: 1, end: 2}}}}, {sctp: {}}, {destinationNamedPort: dns}]"
    said = ask(
        cnp(
            f"{{tier: Admin, priority: 0, subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}], {protocols}}}]}}"
        )
    )
    asked = [(80, "TCP"), (81, "TCP"), (2, "UDP"), (3, "UDP"), (9, "SCTP"), (53, "UDP"), (53, "TCP")]
    assert [said("y/a", "x/a", *each) for each in asked] == [
        "Deny",
        "Allow",
        "Deny",
        "Allow",
        "Deny",
        "Deny",
        "Allow",
    ]
    low = cnp(f"{{tier: Baseline, priority: 0, subject: {ALL}, ingress: [{{action: Deny, from: [{ALL}]}}]}}")
    assert ask(low)("y/a", "x/a") == "Deny"
    assert ask(low, np("{podSelector: {}, ingress: [{}]}"))("y/a", "x/a") == "Allow"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (anp(ingress("Accept")), "/spec/ingress/0/action"),
        (anp(ingress("Deny", priority=1001)), "/spec/priority"),
        (anp(ingress("Deny", "{nodes: {}}")), "/spec/ingress/0/from/0"),
        (anp(ingress("Deny", "{namespaces: {}, pods: {}}")), "/spec/ingress/0/from/0"),
        (anp(f"{{priority: 1, subject: {ALL}, ingress: [{{action: Deny, from: []}}]}}"), "/spec/ingress/0/from"),
        (banp(f"{{subject: {ALL}, ingress: [{{action: Pass, from: [{ALL}]}}]}}"), "/spec/ingress/0/action"),
        (anp(f"{{subject: {ALL}}}", "other", "BaselineAdminNetworkPolicy"), "/metadata/name"),
        (cnp(f"{{tier: Middle, priority: 0, subject: {ALL}}}"), "/spec/tier"),
        (anp(egress("Deny", "{networks: [10.0.0.1]}")), "/spec/egress/0/to/0/networks/0"),
        (anp(egress("Deny", "{domainNames: [a.example]}")), "/spec/egress/0/to/0/domainNames"),
        (anp(ingress("Deny", more=", ports: [{portRange: {start: 3, end: 2}}]")), "/spec/ingress/0/ports/0/portRange"),
    ],
)  # fmt: skip
def test_what_the_api_refuses_is_refused_with_its_pointer(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert [f.pointer.split(": ")[-1] for f in caught.value.faults] == [pointer]
