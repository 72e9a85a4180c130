"""Whom Cilium's rules mean: selectors, reserved labels, entities, nodes, prefixes, services. One sentence each."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]
ENDS = ("x/b", "y/a", "host:n1", "host:n2", "8.8.8.8", "2001:db8::8")
SERVER = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: k, labels: {kubernetes.io/service-name: kubernetes}}, endpoints: [{addresses: [192.168.0.2, 9.9.9.9]}], ports: [{port: 6443}]}"  # fmt: skip
FAR = """
{apiVersion: v1, kind: Pod, metadata: {name: f, namespace: x, labels: {causeway.dev/cluster: far, pod: b}}, spec: {nodeName: n9}, status: {podIP: 10.9.0.1}}
---
{apiVersion: v1, kind: Node, metadata: {name: n9, labels: {causeway.dev/cluster: far, zone: b}}, status: {addresses: [{type: InternalIP, address: 192.168.9.1}]}}
"""


def cnp(spec: str) -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: p, namespace: x}}, spec: {spec}}}"


def ccnp(spec: str) -> str:
    return f"{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"


def to(peers: str, *, kind: Callable[[str], str] = cnp) -> str:
    return kind(f"{{endpointSelector: {{matchLabels: {{pod: a}}}}, egress: [{{{peers}}}]}}")


def reached(said: Ask, *ends: str) -> str:
    """Who of the ends is reached from x/a, by their first letters: A or D."""
    return "".join(said("x/a", end)[0] for end in ends or ENDS)


def selected(ask: Asker, selector: str, kind: Callable[[str], str] = cnp, *more: str) -> str:
    return reached(ask(*more, to(f"toEndpoints: [{selector}]", kind=kind)))


def test_the_label_sources_k8s_and_any_and_none_mean_the_same_label(ask: Asker) -> None:
    for key in ("pod", "k8s:pod", "any:pod"):
        assert selected(ask, f"{{matchLabels: {{'{key}': b}}}}") == "ADDDDD"
        assert (
            selected(ask, f"{{matchExpressions: [{{key: '{key}', operator: In, values: [b]}}]}}") == "ADDDDD"
        )


@pytest.mark.parametrize("key", ["container:pod", "cidr:10.0.0.0/8", "unspec:pod", "fqdn:pod"])
def test_no_end_has_labels_of_other_sources(ask: Asker, key: str) -> None:
    assert selected(ask, f"{{matchExpressions: [{{key: '{key}', operator: Exists}}]}}") == "DDDDDD"
    assert selected(ask, f"{{matchExpressions: [{{key: '{key}', operator: Exists}}]}}", ccnp) == "DDDDDD"


def test_a_selector_of_a_namespaced_policy_means_its_namespace_unless_an_expression_names_one(
    ask: Asker,
) -> None:
    for key in (
        "io.kubernetes.pod.namespace",
        "k8s:io.kubernetes.pod.namespace",
        "any:io.kubernetes.pod.namespace",
    ):
        assert selected(ask, f"{{matchExpressions: [{{key: '{key}', operator: Exists}}]}}") == "AADDDD"
        assert (
            selected(ask, f"{{matchExpressions: [{{key: '{key}', operator: NotIn, values: [x]}}]}}")
            == "DADDDD"
        )
    label = "'k8s:io.cilium.k8s.namespace.labels.tenant'"
    assert selected(ask, f"{{matchExpressions: [{{key: {label}, operator: Exists}}]}}") == "DADDDD"
    assert selected(ask, f"{{matchExpressions: [{{key: {label}, operator: DoesNotExist}}]}}") == "ADDDDD"


def test_a_namespaces_name_is_a_label_of_it(ask: Asker) -> None:
    key = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name"
    assert selected(ask, f"{{matchLabels: {{{key}: y}}}}") == "DADDDD"


def test_an_empty_selector_of_a_clusterwide_policy_means_what_has_a_namespace(ask: Asker) -> None:
    assert selected(ask, "{}", ccnp) == "AADDDD"
    assert selected(ask, "{matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}", ccnp) == "DADDDD"


def test_negative_only_selectors_stay_inside_pods(ask: Asker) -> None:
    for negative in ("{key: gone, operator: DoesNotExist}", "{key: gone, operator: NotIn, values: [v]}"):
        assert selected(ask, f"{{matchExpressions: [{negative}]}}") == "ADDDDD"
        assert selected(ask, f"{{matchExpressions: [{negative}]}}", ccnp) == "AADDDD"


def test_selectors_mean_the_own_cluster_unless_they_name_one(ask: Asker) -> None:
    said = ask(FAR, to("toEndpoints: [{}]"))
    assert reached(said, "x/b", "x/f") == "AD"
    said = ask(FAR, to("toEndpoints: [{matchLabels: {io.cilium.k8s.policy.cluster: far}}]"))
    assert reached(said, "x/b", "x/f") == "DA"
    any_cluster = "{key: 'k8s:io.cilium.k8s.policy.cluster', operator: Exists}"
    said = ask(FAR, to(f"toEndpoints: [{{matchExpressions: [{any_cluster}]}}]"))
    assert reached(said, "x/b", "x/f") == "AA"


def test_service_accounts_are_labels(ask: Asker) -> None:
    label = "{io.cilium.k8s.policy.serviceaccount: robot, io.kubernetes.pod.namespace: y}"
    assert selected(ask, f"{{matchLabels: {label}}}") == "DADDDD"


@pytest.mark.parametrize("kind", [cnp, ccnp])
@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("host", "DDADDD"), ("remote-node", "DDDADD"), ("world", "DDDDAA"), ("world-ipv4", "DDDDAD"), ("world-ipv6", "DDDDDA"),
        ("all", "AAAAAA"), ("health", "DDDDDD"), ("init", "DDDDDD"), ("unmanaged", "DDDDDD"), ("ingress", "DDDDDD"), ("none", "DDDDDD"),
    ],
)  # fmt: skip
def test_reserved_labels_mean_ends_of_that_kind(
    ask: Asker, kind: Callable[[str], str], name: str, who: str
) -> None:
    assert selected(ask, f"{{matchLabels: {{'reserved:{name}': ''}}}}", kind) == who
    assert selected(ask, f"{{matchExpressions: [{{key: 'reserved:{name}', operator: Exists}}]}}", kind) == who


def test_reserved_labels_are_combined_like_others(ask: Asker) -> None:
    expressions = "{key: 'reserved:all', operator: Exists}, {key: 'reserved:host', operator: DoesNotExist}"
    assert selected(ask, f"{{matchExpressions: [{expressions}]}}", ccnp) == "AADAAA"
    assert selected(ask, "{matchLabels: {'reserved:host': '', 'reserved:world': ''}}") == "DDDDDD"
    assert selected(ask, "{matchLabels: {'reserved:world': '', pod: b}}") == "DDDDDD"
    assert selected(ask, "{matchLabels: {'reserved:host': other}}") == "DDDDDD"


def test_a_selector_that_only_excludes_reserved_ends_stays_inside_pods(ask: Asker) -> None:
    without = "{matchExpressions: [{key: 'reserved:host', operator: DoesNotExist}]}"
    assert selected(ask, without) == "ADDDDD"
    assert selected(ask, without, ccnp) == "AADDDD"


def test_who_serves_the_api_is_an_entity_and_a_reserved_label_inside_the_cluster_and_outside(
    ask: Asker,
) -> None:
    for peers in (
        "toEntities: [kube-apiserver]",
        "toEndpoints: [{matchLabels: {'reserved:kube-apiserver': ''}}]",
    ):
        assert reached(ask(SERVER, to(peers)), "host:n2", "host:n1", "9.9.9.9", "8.8.8.8") == "ADAD"
    both = "{matchLabels: {'reserved:kube-apiserver': '', 'reserved:remote-node': ''}}"
    assert reached(ask(SERVER, to(f"toEndpoints: [{both}]")), "host:n2", "9.9.9.9") == "AD"


def test_excluding_who_serves_the_api_from_reserved_ends_is_refused(ask: Asker) -> None:
    expressions = "{key: 'reserved:remote-node', operator: Exists}, {key: 'reserved:kube-apiserver', operator: DoesNotExist}"
    with pytest.raises(InvalidInput) as caught:
        ask(to(f"toEndpoints: [{{matchExpressions: [{expressions}]}}]"))
    assert [f.message for f in caught.value.faults] == [
        "reserved:kube-apiserver cannot be excluded in this release"
    ]


def test_the_cluster_is_its_own_pods_and_the_nodes_of_every_cluster(ask: Asker) -> None:
    ends = ("x/b", "x/f", "host:n1", "host:n9", "8.8.8.8")
    assert reached(ask(FAR, to("toEntities: [cluster]")), *ends) == "ADAAD"
    assert reached(ask(FAR, to("toEntities: [cluster-mesh]")), *ends) == "AAAAD"
    assert reached(ask(FAR, to("toEntities: [remote-node]")), *ends) == "DDDAD"


def test_entities_are_alternatives(ask: Asker) -> None:
    assert reached(ask(to("toEntities: [host, world]"))) == "DDADAA"


def test_nodes_by_label_are_those_of_the_cluster_other_than_the_own(ask: Asker) -> None:
    assert reached(ask(to("toNodes: [{matchLabels: {zone: b}}]"))) == "DDDADD"
    assert reached(ask(to("toNodes: [{}]"))) == "DDDADD"
    assert reached(ask(to("toNodes: [{matchLabels: {'node:zone': a}}]"))) == "DDDDDD"
    said = ask(FAR, to("toNodes: [{matchLabels: {zone: b}}]"))
    assert reached(said, "host:n2", "host:n9") == "AD"
    said = ask(FAR, to("toNodes: [{matchLabels: {'k8s:io.cilium.k8s.policy.cluster': far}}]"))
    assert reached(said, "host:n2", "host:n9") == "DA"


def test_an_empty_list_of_any_kind_of_peers_is_nobody_whatever_stands_beside_it(ask: Asker) -> None:
    for peers in (
        "toEndpoints: []",
        "toCIDR: []",
        "toCIDRSet: []",
        "toEntities: []",
        "toNodes: []",
        "toServices: []",
        "toFQDNs: []",
    ):
        assert reached(ask(to(peers))) == "DDDDDD"
        assert reached(ask(to(f"{peers}, toPorts: [{{ports: [{{port: '80'}}]}}]"))) == "DDDDDD"
    assert reached(ask(to("toEndpoints: [], toEntities: [world]"))) == "DDDDDD"
    assert reached(ask(to("toEndpoints: [{}], toCIDR: []"))) == "DDDDDD"


def test_prefixes_are_alternatives_with_host_bits_and_of_their_own_family(ask: Asker) -> None:
    assert reached(ask(to("toCIDR: [9.0.0.0/8, 8.8.8.9/24]"))) == "DDDDAD"
    assert reached(ask(to("toCIDR: [0.0.0.0/0]"))) == "DDDDAD"
    assert reached(ask(to("toCIDR: ['::/0']"))) == "DDDDDA"
    assert reached(ask(to("toCIDR: [10.0.0.0/8, 192.168.0.0/16]"))) == "DDDDDD"


def test_an_exception_as_large_as_its_prefix_leaves_nothing(ask: Asker) -> None:
    assert reached(ask(to("toCIDRSet: [{cidr: 8.0.0.0/8, except: [8.0.0.0/8]}]"))) == "DDDDDD"
    said = ask(to("toCIDRSet: [{cidr: 8.0.0.0/8, except: [8.8.0.0/16]}, {cidr: 8.8.8.0/24}]"))
    assert reached(said, "8.8.8.8", "8.8.9.9", "8.9.9.9") == "ADA"


def test_exceptions_hold_for_every_prefix_of_a_group_of_both_families(ask: Asker) -> None:
    group = "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: g}, spec: {externalCIDRs: [8.0.0.0/8, '2001:db8::/32']}}"
    said = ask(group, to("toCIDRSet: [{cidrGroupRef: g, except: [8.8.8.0/24]}]"))
    assert reached(said, "8.8.8.8", "8.9.9.9", "2001:db8::8") == "DAA"


SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: y, labels: {tier: one}}, spec: {%s ports: [{port: 80}]}}"
SLICE = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: y, labels: {kubernetes.io/service-name: s}}, endpoints: [{addresses: [%s]}], ports: [{port: 80}]}"  # fmt: skip
BY_NAME = "toServices: [{k8sService: {serviceName: s, namespace: y}}]"


def test_a_service_with_a_selector_is_the_pods_it_selects_ready_or_not(ask: Asker) -> None:
    said = ask(SERVICE % "selector: {pod: a},", SLICE % "10.0.1.2, 9.9.9.9", to(BY_NAME))
    assert reached(said, "y/a", "y/b", "9.9.9.9") == "ADD"


def test_a_service_without_a_selector_is_its_backends_outside(ask: Asker) -> None:
    said = ask(SERVICE % "", SLICE % "10.0.1.2, 192.168.0.2, 9.9.9.9", to(BY_NAME))
    assert reached(said, "y/b", "host:n2", "9.9.9.9", "8.8.8.8") == "DDAD"


def test_a_service_is_named_in_its_namespace_or_in_any(ask: Asker) -> None:
    service = SERVICE % "selector: {pod: a},"
    assert reached(ask(service, to("toServices: [{k8sService: {serviceName: s}}]")), "y/a", "x/b") == "AD"
    assert (
        reached(ask(service, to("toServices: [{k8sService: {serviceName: s, namespace: x}}]")), "y/a") == "D"
    )
    chosen = "toServices: [{k8sServiceSelector: {selector: {matchLabels: {'k8s:tier': one}}%s}}]"
    assert reached(ask(service, to(chosen % "")), "y/a", "y/b") == "AD"
    assert reached(ask(service, to(chosen % ", namespace: x")), "y/a") == "D"
    assert reached(ask(service, to(chosen % ", namespace: y")), "y/a") == "A"


def test_ports_beside_a_service_narrow_it(ask: Asker) -> None:
    said = ask(
        SERVICE % "selector: {pod: a},", to(BY_NAME + ", toPorts: [{ports: [{port: '81', protocol: TCP}]}]")
    )
    assert [said("x/a", "y/a", port) for port in (80, 81)] == ["Deny", "Allow"]
