"""Cilium's policies, one sentence each."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def cnp(spec: str, namespace: str = "x") -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: p, namespace: {namespace}}}, spec: {spec}}}"


def ccnp(spec: str) -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"


def ingress(rule: str, more: str = "") -> str:
    return cnp(f"{{endpointSelector: {{}}, ingress: [{rule}]{more}}}")


def egress(rule: str) -> str:
    return cnp(f"{{endpointSelector: {{}}, egress: [{rule}]}}")


def np(spec: str) -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: k, namespace: x}}, spec: {spec}}}"


def test_an_empty_rule_isolates_and_lets_nobody_in(ask: Asker) -> None:
    said = ask(ingress("{}"))
    assert said("x/b", "x/a") == "Deny"
    assert said("x/a", "y/a") == "Allow"


def test_an_empty_selector_means_the_own_namespace_and_naming_one_means_that(ask: Asker) -> None:
    said = ask(ingress("{fromEndpoints: [{}]}"))
    assert [said(p, "x/a") for p in ("x/b", "y/a", "8.8.8.8", "host:n2")] == ["Allow", "Deny", "Deny", "Deny"]
    said = ask(ingress("{fromEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': y}}]}"))
    assert [said(p, "x/a") for p in ("x/b", "y/a")] == ["Deny", "Allow"]
    said = ask(
        ingress("{fromEndpoints: [{matchLabels: {io.cilium.k8s.namespace.labels.tenant: blue, any:pod: a}}]}")
    )
    assert [said(p, "x/a") for p in ("x/b", "y/a", "y/b")] == ["Deny", "Allow", "Deny"]


def test_an_empty_list_of_peers_is_nobody_and_none_is_everybody(ask: Asker) -> None:
    ports = "toPorts: [{ports: [{port: '80', protocol: TCP}]}]"
    assert ask(ingress(f"{{fromEndpoints: [], {ports}}}"))("x/b", "x/a") == "Deny"
    said = ask(ingress(f"{{{ports}}}"))
    assert [said(p, "x/a") for p in ("x/b", "y/a", "8.8.8.8", "host:n2")] == ["Allow"] * 4
    assert said("x/b", "x/a", 81) == "Deny"


def test_denials_win_over_every_allow_of_cilium_and_kubernetes(ask: Asker) -> None:
    deny = cnp("{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}]}]}")
    allow = ingress("{fromEntities: [all]}").replace("name: p", "name: q")
    said = ask(deny, np("{podSelector: {}, ingress: [{}]}"), allow)
    assert said("x/b", "x/a") == "Deny"
    assert said("y/b", "x/a") == "Allow"


def test_denials_alone_isolate_unless_told_not_to(ask: Asker) -> None:
    deny = "{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}]}]%s}"
    assert ask(cnp(deny % ""))("y/a", "x/a") == "Deny"
    said = ask(cnp(deny % ", enableDefaultDeny: {ingress: false}"))
    assert said("y/a", "x/a") == "Allow"
    assert said("x/b", "x/a") == "Deny"


def test_kubernetes_isolation_stands_though_cilium_asks_for_none(ask: Asker) -> None:
    lax = cnp("{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}], enableDefaultDeny: {ingress: false}}")
    said = ask(lax, np("{podSelector: {}}"))
    assert said("x/b", "x/a") == "Allow"
    assert said("y/a", "x/a") == "Deny"


def test_prefixes_never_match_ends_that_are_known(ask: Asker) -> None:
    said = ask(egress("{toCIDR: [0.0.0.0/0]}"))
    assert [said("x/a", to) for to in ("8.8.8.8", "y/a", "host:n2")] == ["Allow", "Deny", "Deny"]
    said = ask(egress("{toCIDRSet: [{cidr: 8.0.0.0/8, except: [8.8.0.0/16]}]}"))
    assert [said("x/a", to) for to in ("8.9.0.1", "8.8.8.8", "9.0.0.1")] == ["Allow", "Deny", "Deny"]


def test_groups_of_prefixes_by_name_and_label(ask: Asker) -> None:
    group = "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: g, labels: {role: db}}, spec: {externalCIDRs: [8.0.0.0/8]}}"
    for peer in ("{cidrGroupRef: g}", "{cidrGroupSelector: {matchLabels: {role: db}}}"):
        said = ask(group, egress(f"{{toCIDRSet: [{peer}]}}"))
        assert [said("x/a", to) for to in ("8.8.8.8", "9.0.0.1")] == ["Allow", "Deny"]
    assert ask(egress("{toCIDRSet: [{cidrGroupRef: gone}]}"))("x/a", "8.8.8.8") == "Deny"


@pytest.mark.parametrize(
    ("entity", "reached"),
    [
        ("all", "AAAA"), ("world", "DDDA"), ("world-ipv4", "DDDA"), ("world-ipv6", "DDDD"), ("cluster", "AAAD"), ("cluster-mesh", "AAAD"),
        ("host", "DADD"), ("remote-node", "DDAD"), ("none", "DDDD"), ("health", "DDDD"),
    ],
)  # fmt: skip
def test_entities(ask: Asker, entity: str, reached: str) -> None:
    said = ask(egress(f"{{toEntities: [{entity}]}}"))
    assert "".join(said("x/a", to)[0] for to in ("y/a", "host:n1", "host:n2", "8.8.8.8")) == reached


def test_the_api_server_is_who_serves_its_service(ask: Asker) -> None:
    slice_ = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: k, labels: {kubernetes.io/service-name: kubernetes}}, endpoints: [{addresses: [192.168.0.2]}], ports: [{port: 6443}]}"  # fmt: skip
    said = ask(slice_, egress("{toEntities: [kube-apiserver]}"))
    assert [said("x/a", to) for to in ("host:n2", "host:n1")] == ["Allow", "Deny"]


def test_the_own_host_comes_in_but_for_explicit_denials(ask: Asker) -> None:
    assert ask(ingress("{}"))("host:n1", "x/a") == "Allow"
    assert ask(ingress("{}"))("host:n2", "x/a") == "Deny"
    assert (
        ask(cnp("{endpointSelector: {}, ingressDeny: [{fromEntities: [host]}]}"))("host:n1", "x/a") == "Deny"
    )


def test_any_is_tcp_udp_and_sctp_but_not_icmp_and_port_0_is_every_port(ask: Asker) -> None:
    said = ask(ingress("{toPorts: [{ports: [{port: '80', protocol: ANY}]}]}"))
    assert [said("x/b", "x/a", 80, p) for p in ("TCP", "UDP", "SCTP")] == ["Allow"] * 3
    assert said("x/b", "x/a", None, "ICMP") == "Deny"
    said = ask(ingress("{toPorts: [{ports: [{port: '0', protocol: TCP}]}]}"))
    assert [said("x/b", "x/a", 1, p) for p in ("TCP", "UDP")] == ["Allow", "Deny"]
    said = ask(ingress("{toPorts: [{ports: [{port: '80', endPort: 82, protocol: TCP}, {port: dns}]}]}"))
    assert [said("x/b", "x/a", p) for p in (80, 82, 83)] == ["Allow", "Allow", "Deny"]
    assert said("x/b", "x/a", 53, "UDP") == "Allow"


def test_icmp_by_number_and_name_and_a_rule_with_peers_alone_is_every_protocol(ask: Asker) -> None:
    said = ask(ingress("{icmps: [{fields: [{type: EchoRequest}, {type: 3}]}]}"))
    assert [said("x/b", "x/a", None, "ICMP", icmp={"type": t}) for t in (8, 3, 0)] == [
        "Allow",
        "Allow",
        "Deny",
    ]
    assert said("x/b", "x/a") == "Deny"
    assert ask(ingress("{fromEndpoints: [{}]}"))("x/b", "x/a", None, "ICMP") == "Allow"


def test_services_are_their_backends(ask: Asker) -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: y, labels: {tier: one}}, spec: {selector: {pod: a}, ports: [{port: 8080, targetPort: http}]}}"
    for wanted in (
        "k8sService: {serviceName: s, namespace: y}",
        "k8sServiceSelector: {selector: {matchLabels: {tier: one}}, namespace: y}",
    ):
        said = ask(service, egress(f"{{toServices: [{{{wanted}}}]}}"))
        assert [said("x/a", to) for to in ("y/a", "y/b")] == ["Allow", "Deny"]


def test_what_is_not_enforced_yet_never_widens_an_allow(ask: Asker) -> None:
    for rule in (
        "{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]}",
        "{fromEndpoints: [{}], authentication: {mode: required}}",
        "{toPorts: [{ports: [{port: '80', protocol: TCP}], serverNames: [a.example]}]}",
    ):
        assert ask(ingress(rule))("x/b", "x/a") == "Deny"
    assert ask(egress("{toFQDNs: [{matchName: a.example}]}"))("x/a", "8.8.8.8") == "Deny"
    every_name = "{toPorts: [{ports: [{port: '53', protocol: ANY}], rules: {dns: [{matchPattern: '*'}]}}]}"
    assert ask(egress(every_name))("x/a", "y/a", 53, "UDP") == "Allow"


def test_clusterwide_policies_reach_every_namespace_but_only_pods(ask: Asker) -> None:
    said = ask(ccnp("{endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{}]}]}"))
    assert [said(p, "x/a") for p in ("y/b", "8.8.8.8", "host:n2")] == ["Allow", "Deny", "Deny"]


def test_policies_of_nodes_police_hosts(ask: Asker) -> None:
    said = ask(ccnp("{nodeSelector: {matchLabels: {zone: b}}, ingress: [{fromEntities: [cluster]}]}"))
    assert [said(p, "host:n2") for p in ("x/a", "host:n1", "8.8.8.8")] == ["Allow", "Allow", "Deny"]
    assert said("8.8.8.8", "host:n1") == "Allow"


def test_several_specs_in_one_document(ask: Asker) -> None:
    text = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: x}, specs: [{endpointSelector: {matchLabels: {pod: a}}, ingress: [{}]}, {endpointSelector: {}, egress: [{toEntities: [world]}]}]}"  # fmt: skip
    said = ask(text)
    assert [said("y/a", to) for to in ("x/a", "x/b")] == ["Deny", "Allow"]
    assert said("x/b", "y/a") == "Deny"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (ingress("{fromEndpoints: [{}], fromCIDR: [10.0.0.0/8]}"), "/spec/ingress/0"),
        (ingress("{fromEntities: [World]}"), "/spec/ingress/0/fromEntities/0"),
        (ingress("{fromCIDR: [10.0.0/8]}"), "/spec/ingress/0/fromCIDR/0"),
        (egress("{toCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]}"), "/spec/egress/0/toCIDRSet/0/except/0"),
        (ingress("{toPorts: [{ports: [{port: '90', endPort: 80, protocol: TCP}]}]}"), "/spec/ingress/0/toPorts/0/ports/0/endPort"),
        (ingress("{icmps: [{fields: [{type: Nonsense}]}]}"), "/spec/ingress/0/icmps/0/fields/0/type"),
        (ingress("{icmps: [{fields: [{type: 256}]}]}"), "/spec/ingress/0/icmps/0/fields/0/type"),
        (ingress("{fromRequires: [{}]}"), "/spec/ingress/0/fromRequires"),
        (cnp("{ingress: [{}]}"), "/spec"),
        (cnp("{endpointSelector: {}}"), "/spec"),
        (cnp("{nodeSelector: {}, ingress: [{}]}"), "/spec/nodeSelector"),
        (cnp("{endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: '80'}], rules: {http: [{}]}}]}]}"), "/spec/ingressDeny/0/toPorts/0/rules"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_pointer(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert [f.pointer.split(": ")[-1] for f in caught.value.faults] == [pointer]


def test_a_service_at_a_named_port_is_that_port_of_its_backends(ask: Asker) -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: y}, spec: {selector: {pod: a}, ports: [{port: 80}]}}"
    rule = "{toServices: [{k8sService: {serviceName: s, namespace: y}}], toPorts: [{ports: [{port: dns, protocol: UDP}]}]}"
    said = ask(service, egress(rule))
    assert said("x/a", "y/a", 53, "UDP") == "Allow"
    assert said("x/a", "y/a", 80) == "Deny"
    assert said("x/a", "y/b", 53, "UDP") == "Deny"
