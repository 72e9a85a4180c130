"""Policies of administrators beside those of namespaces: order, tiers, subjects, peers, limits. One sentence each."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]
ALL = "{namespaces: {}}"
GROUP = "policy.networking.k8s.io"
DENY_ALL = f"{{action: Deny, from: [{ALL}]}}"


def anp(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: {GROUP}/v1alpha1, kind: AdminNetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


def banp(spec: str) -> str:
    return f"{{apiVersion: {GROUP}/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: {{name: default}}, spec: {spec}}}"


def cnp(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: {GROUP}/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


def np(spec: str, name: str = "n") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: x}}, spec: {spec}}}"


def rules(section: str, *listed: str, priority: int = 5, subject: str = ALL) -> str:
    return f"{{priority: {priority}, subject: {subject}, {section}: [{', '.join(listed)}]}}"


def outward(action: str, peer: str, more: str = "") -> str:
    return rules("egress", f"{{action: {action}, to: [{peer}]{more}}}")


def tier(name: str, *listed: str, priority: int = 5, section: str = "ingress") -> str:
    return f"{{tier: {name}, priority: {priority}, subject: {ALL}, {section}: [{', '.join(listed)}]}}"


def test_pass_goes_on_to_network_policies_and_then_to_the_baseline(ask: Asker) -> None:
    passes = anp(rules("ingress", f"{{action: Pass, from: [{ALL}]}}", DENY_ALL))
    baseline = banp(f"{{subject: {ALL}, ingress: [{DENY_ALL}]}}")
    assert ask(passes)("y/a", "x/a") == "Allow"
    assert ask(passes, baseline)("y/a", "x/a") == "Deny"
    assert ask(passes, baseline, np("{podSelector: {}, ingress: [{}]}"))("y/a", "x/a") == "Allow"


def test_the_baseline_is_for_pods_that_no_network_policy_isolates_in_that_direction(ask: Asker) -> None:
    baseline = banp(f"{{subject: {ALL}, ingress: [{DENY_ALL}], egress: [{{action: Deny, to: [{ALL}]}}]}}")
    said = ask(baseline, np("{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}"))
    assert [said("y/b", "x/a"), said("y/a", "x/b")] == ["Deny", "Deny"]  # by y's egress
    only = banp(f"{{subject: {{namespaces: {{matchLabels: {{ns: x}}}}}}, ingress: [{DENY_ALL}], egress: [{{action: Deny, to: [{ALL}]}}]}}")  # fmt: skip
    said = ask(only, np("{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}"))
    assert [said("y/b", "x/a"), said("x/a", "y/a")] == ["Allow", "Deny"]


def test_a_baseline_that_accepts_does_not_open_an_isolated_pod(ask: Asker) -> None:
    isolate = np("{podSelector: {}}")
    for baseline in (
        banp(f"{{subject: {ALL}, ingress: [{{action: Allow, from: [{ALL}]}}]}}"),
        cnp(tier("Baseline", f"{{action: Accept, from: [{ALL}]}}")),
    ):
        assert ask(isolate, baseline)("y/a", "x/a") == "Deny"


def test_a_baseline_that_denies_all_pods_leaves_the_own_host_and_the_world(ask: Asker) -> None:
    said = ask(banp(f"{{subject: {ALL}, ingress: [{DENY_ALL}]}}"))
    assert [said(source, "x/a") for source in ("host:n1", "host:n2", "8.8.8.8", "y/a")] == [
        "Allow",
        "Allow",
        "Allow",
        "Deny",
    ]


def test_an_admin_allow_is_final_for_its_end_only(ask: Asker) -> None:
    allow = anp(rules("egress", f"{{action: Allow, to: [{ALL}]}}"))
    assert ask(allow, np("{podSelector: {}}"))("y/a", "x/a") == "Deny"
    assert ask(allow, np("{podSelector: {}, policyTypes: [Egress]}"))("x/a", "y/a") == "Allow"


def test_tiers_of_cluster_network_policies_come_before_their_priorities(ask: Asker) -> None:
    low = cnp(tier("Baseline", DENY_ALL, priority=0), "a")
    high = cnp(tier("Admin", f"{{action: Accept, from: [{ALL}]}}", priority=1000), "b")
    assert ask(low, high)("y/a", "x/a") == "Allow"


def test_pass_in_the_baseline_skips_the_rest_of_it(ask: Asker) -> None:
    passes = cnp(tier("Baseline", f"{{action: Pass, from: [{ALL}]}}", priority=1), "a")
    assert ask(passes, cnp(tier("Baseline", DENY_ALL, priority=2), "b"))("y/a", "x/a") == "Allow"


def test_policies_of_one_priority_all_count(ask: Asker) -> None:
    def deny(port: int) -> str:
        ports = f", ports: [{{portNumber: {{port: {port}}}}}]"
        return rules("ingress", f"{{action: Deny, from: [{ALL}]{ports}}}")

    said = ask(anp(deny(80), "a"), anp(deny(81), "b"))
    assert [said("y/a", "x/a", port) for port in (80, 81, 82)] == ["Deny", "Deny", "Allow"]


def test_pods_on_their_hosts_network_are_neither_subjects_nor_peers_but_their_node_is(ask: Asker) -> None:
    said = ask(anp(rules("ingress", DENY_ALL)))
    assert [said("y/h", "x/a"), said("y/a", "y/h")] == ["Allow", "Allow"]
    said = ask(anp(outward("Deny", ALL)))
    assert said("x/a", "y/h") == "Allow"
    said = ask(anp(outward("Deny", "{nodes: {matchLabels: {zone: b}}}")))
    assert [said("x/a", "y/h"), said("x/a", "192.168.0.2"), said("x/a", "y/a")] == ["Deny", "Deny", "Allow"]


def test_an_empty_selector_of_nodes_is_every_node_even_the_own(ask: Asker) -> None:
    said = ask(anp(outward("Deny", "{nodes: {}}")))
    assert [said("x/a", to) for to in ("host:n1", "host:n2", "8.8.8.8", "x/b")] == [
        "Deny",
        "Deny",
        "Allow",
        "Allow",
    ]


def test_networks_are_of_both_families_hold_pods_and_nodes_and_may_have_host_bits(ask: Asker) -> None:
    said = ask(
        cnp(
            tier(
                "Admin",
                "{action: Deny, to: [{networks: [10.0.1.77/24, 'fd00::1:0/112', 192.168.0.2/32]}]}",
                section="egress",
            )
        )
    )
    assert [said("x/a", to) for to in ("y/a", "x/b", "host:n2", "y/h")] == ["Deny", "Allow", "Deny", "Deny"]
    assert [said("fd00::1", to) for to in ("fd00::1:1", "fd00::2")] == ["Deny", "Allow"]


def test_peers_of_one_rule_are_alternatives_and_a_rule_without_ports_is_of_every_protocol(ask: Asker) -> None:
    peers = "{namespaces: {matchLabels: {ns: y}}}, {pods: {podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: x}}}}"
    said = ask(anp(rules("ingress", f"{{action: Deny, from: [{peers}]}}")))
    assert [said(source, "x/a", None, "ICMP") for source in ("y/b", "x/b", "8.8.8.8")] == [
        "Deny",
        "Deny",
        "Allow",
    ]


def test_a_peer_of_pods_without_a_namespace_selector_is_of_every_namespace(ask: Asker) -> None:
    peer = "{pods: {podSelector: {matchLabels: {pod: b}}}}"
    said = ask(cnp(tier("Admin", f"{{action: Deny, from: [{peer}]}}")))
    assert [said(source, "x/a") for source in ("x/b", "y/b", "y/a")] == ["Deny", "Deny", "Allow"]


def test_a_named_port_is_the_destinations_whatever_its_protocol(ask: Asker) -> None:
    for text in (
        anp(outward("Deny", ALL, ", ports: [{namedPort: dns}, {namedPort: http}]")),
        cnp(tier("Admin", f"{{action: Deny, to: [{ALL}], protocols: [{{destinationNamedPort: dns}}, {{destinationNamedPort: http}}]}}", section="egress")),
    ):  # fmt: skip
        said = ask(text)
        asked = [(53, "UDP"), (53, "TCP"), (80, "TCP"), (80, "UDP")]
        assert [said("x/a", "y/a", *each)[0] for each in asked] == ["D", "A", "D", "A"]


def test_only_what_a_rule_says_is_matched_by_a_protocol_of_v1alpha2(ask: Asker) -> None:
    said = ask(
        cnp(
            tier(
                "Admin",
                f"{{action: Deny, from: [{ALL}], protocols: [{{udp: {{}}}}, {{sctp: {{destinationPort: {{number: 9}}}}}}]}}",
            )
        )
    )
    asked = [(1, "UDP"), (65535, "UDP"), (9, "SCTP"), (8, "SCTP"), (9, "TCP"), (None, "ICMP")]
    assert [said("y/a", "x/a", *each)[0] for each in asked] == ["D", "D", "D", "A", "A", "A"]


def test_domain_names_close_an_allow_and_leave_the_rules_beside_it(ask: Asker) -> None:
    accept = "{action: Accept, to: [{domainNames: ['*.example.com']}, {networks: [9.0.0.0/8]}]}"
    said = ask(cnp(tier("Admin", accept, "{action: Deny, to: [{networks: [0.0.0.0/0]}]}", section="egress")))
    assert [said("x/a", to) for to in ("9.9.9.9", "8.8.8.8")] == ["Allow", "Deny"]


def many(count: int, what: str) -> str:
    return ", ".join([what] * count)


FROM_26 = f"{{action: Deny, from: [{many(26, ALL)}]}}"
PORT = "{portNumber: {port: 1}}"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (anp(f"{{subject: {ALL}}}"), "/spec/priority"),
        (anp("{priority: 1}"), "/spec/subject"),
        (anp(rules("ingress", priority=-1)), "/spec/priority"),
        (banp(f"{{subject: {ALL}, priority: 1}}"), "/spec/priority"),
        (anp(rules("ingress", many(101, DENY_ALL))), "/spec/ingress"),
        (cnp(tier("Admin", many(26, DENY_ALL))), "/spec/ingress"),
        (cnp(tier("Admin", FROM_26)), "/spec/ingress/0/from"),
        (anp(rules("ingress", f"{{action: Deny, from: [{ALL}], ports: [{many(101, PORT)}]}}")), "/spec/ingress/0/ports"),
        (anp(rules("ingress", f"{{action: Deny, from: [{ALL}], ports: []}}")), "/spec/ingress/0/ports"),
        (cnp(tier("Admin", f"{{action: Deny, from: [{ALL}], protocols: []}}")), "/spec/ingress/0/protocols"),
        (cnp(tier("Admin", f"{{action: Deny, from: [{ALL}], ports: [{PORT}]}}")), "/spec/ingress/0/ports"),
        (anp(rules("ingress", f"{{action: Deny, from: [{ALL}], protocols: [{{tcp: {{}}}}]}}")), "/spec/ingress/0/protocols"),
        (anp(rules("ingress", f"{{name: {'n' * 101}, action: Deny, from: [{ALL}]}}")), "/spec/ingress/0/name"),
        (cnp(tier("Admin", f"{{action: Allow, from: [{ALL}]}}")), "/spec/ingress/0/action"),
        (anp(rules("ingress", f"{{action: deny, from: [{ALL}]}}")), "/spec/ingress/0/action"),
        (anp(rules("ingress", "{action: Deny, from: [{}]}")), "/spec/ingress/0/from/0"),
        (anp(rules("ingress", "{action: Deny, from: [{namespaces: {sameLabels: [tenant]}}]}")), "/spec/ingress/0/from/0/namespaces/sameLabels"),
        (anp(rules("ingress", "{action: Deny, from: [{namespaces: {notSameLabels: [t]}}]}")), "/spec/ingress/0/from/0/namespaces/notSameLabels"),
        (anp(rules("ingress", f"{{action: Deny, to: [{ALL}], from: [{ALL}]}}")), "/spec/ingress/0/to"),
        (anp(outward("Deny", f"{{networks: [{many(26, '10.0.0.0/8')}]}}")), "/spec/egress/0/to/0/networks"),
        (anp(outward("Deny", "{networks: []}")), "/spec/egress/0/to/0/networks"),
        (anp(outward("Allow", "{domainNames: ['a.*.example']}")), "/spec/egress/0/to/0/domainNames/0"),
        (anp(outward("Deny", ALL, ", ports: [{portRange: {start: 3, end: 3}}]")), "/spec/egress/0/ports/0/portRange"),
        (anp(outward("Deny", ALL, ", ports: [{portNumber: {port: 0}}]")), "/spec/egress/0/ports/0/portNumber"),
        (anp(outward("Deny", ALL, ", ports: [{portNumber: {port: 1}, namedPort: a}]")), "/spec/egress/0/ports/0"),
        (cnp(tier("Admin", f"{{action: Deny, from: [{ALL}], protocols: [{{tcp: {{destinationPort: {{}}}}}}]}}")), "/spec/ingress/0/protocols/0/tcp/destinationPort"),
    ],
)  # fmt: skip
def test_the_limits_of_the_api_are_kept(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert pointer in [f.pointer.split(": ")[-1] for f in caught.value.faults]


def test_100_rules_and_25_networks_are_within_them(ask: Asker) -> None:
    assert ask(anp(rules("ingress", many(100, DENY_ALL))))("y/a", "x/a") == "Deny"
    assert ask(anp(outward("Deny", f"{{networks: [{many(25, '8.0.0.0/8')}]}}")))("x/a", "8.8.8.8") == "Deny"
