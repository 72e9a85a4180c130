"""What Cilium's rules ask beside the peer, how they come together. One sentence each."""

from collections.abc import Callable

import pytest

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def cnp(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: {name}, namespace: x}}, spec: {spec}}}"


def ccnp(spec: str, name: str = "c") -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


def np(spec: str) -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: k, namespace: x}}, spec: {spec}}}"


def ingress(rule: str, section: str = "ingress") -> str:
    return cnp(f"{{endpointSelector: {{}}, {section}: [{rule}]}}")


def egress(rule: str) -> str:
    return cnp(f"{{endpointSelector: {{}}, egress: [{rule}]}}")


def ports(*listed: str) -> str:
    return f"toPorts: [{{ports: [{', '.join(listed)}]}}]"


def verdicts(said: Ask, *asked: tuple[int | None, str], source: str = "y/a", to: str = "x/a") -> str:
    return "".join(said(source, to, port, protocol)[0] for port, protocol in asked)


TCP = "{port: '80', protocol: TCP}"
EVERY = ((80, "TCP"), (80, "UDP"), (80, "SCTP"), (None, "ICMP"))


def test_any_is_three_protocols_and_never_icmp_even_at_port_0(ask: Asker) -> None:
    for port in ("{port: '80'}", "{port: '80', protocol: ANY}", "{port: '0'}", "{port: '0', protocol: ANY}"):
        assert verdicts(ask(ingress(f"{{{ports(port)}}}")), *EVERY) == "AAAD"


def test_several_entries_of_to_ports_are_alternatives(ask: Asker) -> None:
    said = ask(
        ingress("{toPorts: [{ports: [{port: '80', protocol: TCP}]}, {ports: [{port: '81', protocol: UDP}]}]}")
    )
    assert verdicts(said, (80, "TCP"), (81, "UDP"), (81, "TCP"), (80, "UDP")) == "AADD"


def test_an_entry_without_ports_allows_none_and_an_empty_list_of_entries_is_no_list(ask: Asker) -> None:
    assert verdicts(ask(ingress("{fromEntities: [all], toPorts: [{ports: []}]}")), *EVERY) == "DDDD"
    assert verdicts(ask(ingress("{fromEntities: [all], toPorts: []}")), *EVERY) == "AAAA"
    assert verdicts(ask(ingress("{toPorts: []}")), *EVERY) == "DDDD"


def test_named_ports_are_the_subjects_own_inwards_and_the_peers_outwards(ask: Asker) -> None:
    other = "{apiVersion: v1, kind: Pod, metadata: {name: o, namespace: x}, spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.0.0.9}}"
    said = ask(other, ingress(f"{{{ports('{port: HTTP, protocol: TCP}')}}}"))
    assert [said("y/a", "x/a", 80), said("y/a", "x/o", 80), said("y/a", "x/o", 8080)] == [
        "Allow",
        "Deny",
        "Allow",
    ]
    said = ask(other, egress(f"{{{ports('{port: http, protocol: TCP}')}}}"))
    assert [said("x/a", "x/o", 8080), said("x/a", "x/o", 80), said("x/a", "y/a", 80)] == [
        "Allow",
        "Deny",
        "Allow",
    ]
    assert said("x/a", "8.8.8.8", 80) == "Deny"


def test_a_range_includes_both_ends_and_the_peer_and_the_port_must_hold(ask: Asker) -> None:
    said = ask(ingress(f"{{fromEndpoints: [{{}}], {ports('{port: 80, endPort: 82, protocol: TCP}')}}}"))
    assert [said("x/b", "x/a", port)[0] for port in (79, 80, 82, 83)] == ["D", "A", "A", "D"]
    assert said("y/a", "x/a", 80) == "Deny"


def test_icmp_types_are_of_their_family(ask: Asker) -> None:
    said = ask(ingress("{icmps: [{fields: [{type: EchoRequest, family: IPv4}]}]}"))
    assert said("10.0.1.1", "x/a", None, "ICMP") == "Allow"
    assert said("fd00::1:1", "x/a", None, "ICMP") == "Deny"
    said = ask(ingress("{icmps: [{fields: [{type: 128, family: IPv6}]}, {fields: [{type: '3'}]}]}"))
    assert said("fd00::1:1", "x/a", None, "ICMP") == "Allow"
    assert said("fd00::1:1", "x/a", None, "ICMPv6") == "Allow"
    assert said("10.0.1.1", "x/a", None, "ICMP") == "Deny"
    assert said("10.0.1.1", "x/a", None, "ICMP", icmp={"type": 3}) == "Allow"


def test_icmp_beside_a_peer_is_from_that_peer(ask: Asker) -> None:
    said = ask(ingress("{fromEndpoints: [{}], icmps: [{fields: [{type: 8}]}]}"))
    assert [said(source, "x/a", None, "ICMP") for source in ("x/b", "y/a")] == ["Allow", "Deny"]


def test_a_denial_by_port_leaves_other_ports_and_wins_over_wider_and_narrower_allows(ask: Asker) -> None:
    deny = ccnp(f"{{endpointSelector: {{}}, ingressDeny: [{{fromEntities: [all], {ports(TCP)}}}]}}")
    said = ask(
        deny, ingress("{fromEntities: [all]}"), np("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")
    )
    assert verdicts(said, (80, "TCP"), (80, "UDP"), (81, "TCP")) == "DAA"


def test_denials_of_a_namespace_win_over_allows_of_the_cluster_and_the_other_way_round(ask: Asker) -> None:
    for one, other in ((cnp, ccnp), (ccnp, cnp)):
        said = ask(
            one("{endpointSelector: {}, egressDeny: [{toCIDR: [8.8.8.0/24]}]}"),
            other("{endpointSelector: {}, egress: [{toEntities: [world]}]}"),
        )
        assert [said("x/a", to) for to in ("8.8.8.8", "8.8.9.9")] == ["Deny", "Allow"]


def test_an_empty_denial_denies_nothing_but_isolates(ask: Asker) -> None:
    said = ask(ingress("{}", "ingressDeny"))
    assert [said("y/a", "x/a"), said("x/a", "y/a")] == ["Deny", "Allow"]
    said = ask(ingress("{}", "ingressDeny"), ccnp("{endpointSelector: {}, ingress: [{fromEntities: [all]}]}"))
    assert said("y/a", "x/a") == "Allow"


def test_an_empty_section_beside_another_does_nothing(ask: Asker) -> None:
    said = ask(cnp("{endpointSelector: {}, ingress: [], egress: [{}]}"))
    assert [said("y/a", "x/a"), said("x/a", "y/a")] == ["Allow", "Deny"]


def test_default_denial_is_for_each_direction_that_has_rules_or_as_told(ask: Asker) -> None:
    allow = "{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]%s}"
    assert ask(cnp(allow % ""))("x/a", "y/a") == "Allow"
    said = ask(cnp(allow % ", enableDefaultDeny: {ingress: false}"))
    assert [said("y/a", "x/a"), said("x/b", "x/a")] == ["Allow", "Allow"]
    said = ask(cnp(allow % ", enableDefaultDeny: {egress: true}"))
    assert [said("x/a", "y/a"), said("x/b", "x/a")] == ["Deny", "Deny"]


def test_one_policy_that_isolates_is_enough(ask: Asker) -> None:
    lax = cnp(
        "{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}], enableDefaultDeny: {ingress: false}}", "lax"
    )
    said = ask(lax, cnp("{endpointSelector: {}, ingress: [{}]}", "strict"))
    assert [said("x/b", "x/a"), said("y/a", "x/a")] == ["Allow", "Deny"]


def test_a_subject_selector_stays_in_the_policys_namespace(ask: Asker) -> None:
    for key in ("k8s:io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.ns"):
        said = ask(cnp(f"{{endpointSelector: {{matchLabels: {{'{key}': y}}}}, ingress: [{{}}]}}"))
        assert said("x/a", "y/a") == "Allow"
    said = ask(
        cnp("{endpointSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': y}}, ingress: [{}]}")
    )
    assert said("y/a", "x/a") == "Deny"  # Cilium puts the policy's own namespace in its place


def test_a_clusterwide_subject_is_chosen_by_its_namespaces_labels(ask: Asker) -> None:
    said = ask(
        ccnp(
            "{endpointSelector: {matchLabels: {io.cilium.k8s.namespace.labels.tenant: blue}}, ingress: [{}]}"
        )
    )
    assert [said("x/a", "y/a"), said("y/a", "x/a")] == ["Deny", "Allow"]


def test_spec_and_specs_stand_side_by_side(ask: Asker) -> None:
    text = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: x}, spec: {endpointSelector: {}, egress: [{}]}, specs: [{endpointSelector: {matchLabels: {pod: a}}, ingress: [{}]}]}"  # fmt: skip
    said = ask(text)
    assert [said("x/b", "y/a"), said("y/a", "x/a"), said("y/a", "x/b")] == ["Deny", "Deny", "Allow"]


HOST = "{nodeSelector: {matchLabels: {'k8s:zone': b}}, %s}"


def test_a_policy_of_nodes_isolates_the_nodes_that_it_selects_and_no_pod_on_them(ask: Asker) -> None:
    said = ask(ccnp(HOST % "ingress: [{fromEntities: [remote-node]}]"))
    assert [said(source, "host:n2") for source in ("host:n1", "x/a", "x/b", "8.8.8.8")] == [
        "Allow",
        "Deny",
        "Deny",
        "Deny",
    ]
    assert [said("8.8.8.8", to) for to in ("host:n1", "x/b", "y/h")] == ["Allow", "Allow", "Deny"]
    assert said("host:n2", "8.8.8.8") == "Allow"


def test_a_policy_of_nodes_rules_their_egress_and_their_pods_too_need_a_way_in(ask: Asker) -> None:
    said = ask(ccnp(HOST % "egress: [{toEndpoints: [{matchLabels: {pod: a}}]}]"))
    assert [said("host:n2", to) for to in ("x/a", "y/a", "x/b", "8.8.8.8")] == [
        "Allow",
        "Allow",
        "Deny",
        "Deny",
    ]
    assert said("x/b", "host:n2") == "Allow"


def test_a_denial_on_nodes_wins(ask: Asker) -> None:
    said = ask(ccnp(HOST % "ingress: [{fromEntities: [all]}], ingressDeny: [{fromEntities: [world]}]"))
    assert [said(source, "host:n2") for source in ("x/a", "8.8.8.8")] == ["Allow", "Deny"]


def test_what_a_pod_sends_to_its_own_host_is_policed_and_what_comes_from_there_is_not(ask: Asker) -> None:
    said = ask(cnp("{endpointSelector: {}, ingress: [{}], egress: [{}]}"))
    assert [said("x/a", "host:n1"), said("host:n1", "x/a"), said("host:n2", "x/a")] == [
        "Deny",
        "Allow",
        "Deny",
    ]
    assert ask(egress("{toEntities: [host]}"))("x/a", "host:n1") == "Allow"
    assert ask(ingress("{fromEntities: [all]}", "ingressDeny"))("host:n1", "x/a") == "Deny"
    assert ask(ingress("{fromEntities: [world]}", "ingressDeny"))("host:n1", "x/a") == "Allow"


@pytest.mark.parametrize(
    "beyond",
    [
        "rules: {http: [{method: GET}]}", "rules: {http: [{}]}", "rules: {kafka: [{topic: t}]}", "rules: {l7proto: cassandra, l7: [{a: b}]}",
        "serverNames: [a.example]", "terminatingTLS: {secret: {name: s}}", "originatingTLS: {secret: {name: s}}",
    ],
)  # fmt: skip
def test_an_allow_that_looks_beyond_ports_allows_nothing(ask: Asker, beyond: str) -> None:
    assert ask(ingress(f"{{toPorts: [{{ports: [{TCP}], {beyond}}}]}}"))("y/a", "x/a") == "Deny"


def test_rules_beyond_ports_that_are_empty_narrow_nothing(ask: Asker) -> None:
    for beyond in ("rules: {}", "rules: {http: []}", "serverNames: []"):
        assert ask(ingress(f"{{toPorts: [{{ports: [{TCP}], {beyond}}}]}}"))("y/a", "x/a") == "Allow"


def test_a_rule_that_is_closed_leaves_its_neighbours(ask: Asker) -> None:
    closed = f"{{ports: [{TCP}], rules: {{http: [{{}}]}}}}"
    said = ask(ingress(f"{{toPorts: [{closed}, {{ports: [{{port: '81', protocol: TCP}}]}}]}}"))
    assert verdicts(said, (80, "TCP"), (81, "TCP")) == "DA"


def test_authentication_closes_an_allow_unless_it_is_disabled(ask: Asker) -> None:
    for mode, verdict in (("required", "Deny"), ("test-always-fail", "Deny"), ("disabled", "Allow")):
        assert (
            ask(ingress(f"{{fromEndpoints: [{{}}], authentication: {{mode: {mode}}}}}"))("x/b", "x/a")
            == verdict
        )


def test_names_and_cloud_groups_close_an_allow_and_a_denial_of_groups_is_of_everything_outside(
    ask: Asker,
) -> None:
    assert ask(egress("{toFQDNs: [{matchPattern: '*'}]}"))("x/a", "8.8.8.8") == "Deny"
    assert ask(egress("{toGroups: [{aws: {region: r}}]}"))("x/a", "8.8.8.8") == "Deny"
    said = ask(
        cnp(
            "{endpointSelector: {}, egress: [{toEntities: [all]}], egressDeny: [{toGroups: [{aws: {region: r}}]}]}"
        )
    )
    assert [said("x/a", to) for to in ("8.8.8.8", "y/a")] == ["Deny", "Allow"]
