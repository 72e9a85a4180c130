"""What stands there, from Kubernetes' own documents: pods, hosts, namespaces. One sentence each."""

from typing import Any

import pytest
import yaml

from federation.errors import InvalidInput
from federation.simulation.probes import Judge
from federation.simulation.reading import read

PLAIN = "{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: x, labels: {pod: %s}}, spec: {%s}, status: {%s}}"
FROM_BLOCK = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: %s}}]}]}}"  # fmt: skip
FROM_NAMESPACE = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: %s}]}]}}"  # fmt: skip
ISOLATED = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {}}}"


def judge(*texts: str) -> Judge:
    documents = [d for text in texts for d in yaml.safe_load_all(text)]
    return Judge(read((f"document {n}", d) for n, d in enumerate(documents)))


def said(of: Judge, source: str, to: str, **more: Any) -> str:
    return str(of.answer({"from": source, "to": to, "port": 80, **more})["verdict"])


def pod(name: str, spec: str = "", status: str = "") -> str:
    return PLAIN % (name, name, spec, status)


def test_a_pod_without_address_is_in_no_prefix_but_has_its_labels() -> None:
    of = judge(pod("a", status="podIP: 10.0.0.1"), pod("b"), FROM_BLOCK % "0.0.0.0/0")
    assert said(of, "x/b", "x/a") == "Deny"
    of = judge(pod("a", status="podIP: 10.0.0.1"), pod("b"), FROM_NAMESPACE % "{}")
    assert said(of, "x/b", "x/a") == "Allow"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_no_address(phase: str) -> None:
    over, next_ = (
        pod("over", status=f"podIP: 10.0.0.7, phase: {phase}"),
        pod("next", status="podIP: 10.0.0.7"),
    )
    of = judge(pod("a", status="podIP: 10.0.0.1"), over, next_, FROM_BLOCK % "10.0.0.7/32")
    assert said(of, "x/next", "x/a") == "Allow"
    assert said(of, "x/over", "x/a") == "Deny"
    isolated = ISOLATED.replace("podSelector: {}", "podSelector: {matchLabels: {pod: next}}")
    assert said(judge(over, next_, isolated), "8.8.8.8", "10.0.0.7") == "Deny"


def test_an_address_of_several_pods_is_asked_for_by_name() -> None:
    of = judge(pod("a", status="podIP: 10.0.0.7"), pod("b", status="podIP: 10.0.0.7"), ISOLATED)
    with pytest.raises(InvalidInput, match=r"10.0.0.7 is the address of several pods \(x/a, x/b\)"):
        said(of, "10.0.0.7", "8.8.8.8")
    assert said(of, "x/a", "x/b") == "Deny"


def test_a_pod_on_its_hosts_network_is_the_host_that_has_its_address() -> None:
    node = "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}"
    host = pod("h", "hostNetwork: true", "podIP: 192.168.0.1")
    of = judge(node, host, pod("a", "nodeName: n1", "podIP: 10.0.0.1"), ISOLATED)
    assert said(of, "x/h", "x/a") == "Allow"  # it is a's own host
    assert said(of, "192.168.0.1", "x/a") == "Allow"
    assert said(of, "x/h", "host:n1") == "Allow"


def test_a_pod_on_its_hosts_network_has_its_ports_for_whoever_names_them() -> None:
    ports = "containers: [{ports: [{name: http, containerPort: 8080}]}]"
    of = judge(pod("h", f"hostNetwork: true, nodeName: n1, {ports}"), pod("a"))
    assert said(of, "x/a", "x/h", port="http") == "Allow"
    with pytest.raises(InvalidInput):
        said(of, "x/a", "host:n1", port="http")


def test_a_host_without_a_document_is_known_from_its_pods() -> None:
    of = judge(pod("a", "nodeName: n7", "podIP: 10.0.0.1, hostIP: 192.168.0.7"), ISOLATED)
    assert [said(of, source, "x/a") for source in ("host:n7", "192.168.0.7", "8.8.8.8")] == [
        "Allow",
        "Allow",
        "Deny",
    ]


def test_what_pods_tell_of_a_host_takes_nothing_from_its_document() -> None:
    node = "{apiVersion: causeway.dev/v1, kind: Node, metadata: {name: n7}, spec: {addresses: [192.168.0.7]}}"
    of = judge(node, pod("a", "nodeName: n7", "podIP: 10.0.0.1"), ISOLATED)
    assert said(of, "192.168.0.7", "x/a") == "Allow"


def test_a_namespace_needs_no_document_and_its_name_is_its_own() -> None:
    other = "{apiVersion: v1, kind: Pod, metadata: {name: o, namespace: y}, spec: {}}"
    by_name = "{matchLabels: {kubernetes.io/metadata.name: y}}"
    assert said(judge(pod("a"), other, FROM_NAMESPACE % by_name), "y/o", "x/a") == "Allow"
    wrong = "{apiVersion: v1, kind: Namespace, metadata: {name: y, labels: {kubernetes.io/metadata.name: z}}}"
    assert said(judge(pod("a"), other, wrong, FROM_NAMESPACE % by_name), "y/o", "x/a") == "Allow"
    liar = "{apiVersion: v1, kind: Namespace, metadata: {name: z, labels: {kubernetes.io/metadata.name: y}}}"
    stranger = other.replace("namespace: y", "namespace: z")
    assert said(judge(pod("a"), stranger, liar, FROM_NAMESPACE % by_name), "z/o", "x/a") == "Deny"


@pytest.mark.parametrize("namespace", ["", "namespace: ''", "namespace: null", "namespace: default"])
def test_what_names_no_namespace_is_in_the_default_one(namespace: str) -> None:
    alone = f"{{apiVersion: v1, kind: Pod, metadata: {{name: d, {namespace}}}, spec: {{}}}}"
    policy = f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, {namespace}}}, spec: {{}}}}"
    assert said(judge(alone, policy), "8.8.8.8", "default/d") == "Deny"


def test_a_label_without_value_is_an_empty_one() -> None:
    bare = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x, labels: {pod: null}}, spec: {}}"
    wanted = ISOLATED.replace("podSelector: {}", "podSelector: {matchLabels: {pod: null}}")
    of = judge(bare, pod("b"), wanted)
    assert [said(of, "8.8.8.8", to) for to in ("x/a", "x/b")] == ["Deny", "Allow"]


def test_ports_of_init_containers_count_if_those_go_on_running() -> None:
    port = "ports: [{name: side, containerPort: 9}]"
    of = judge(
        pod("a", f"initContainers: [{{restartPolicy: Always, {port}}}]"),
        pod("b", f"initContainers: [{{{port}}}]"),
    )
    assert said(of, "8.8.8.8", "x/a", port="side") == "Allow"
    with pytest.raises(InvalidInput):
        said(of, "8.8.8.8", "x/b", port="side")


@pytest.mark.parametrize("number", ["0", "65536", "true", "'80'"])
def test_a_container_port_is_a_number_in_range(number: str) -> None:
    with pytest.raises(InvalidInput):
        judge(pod("a", f"containers: [{{ports: [{{containerPort: {number}}}]}}]"))


def test_what_says_nothing_to_policy_is_passed_over_not_refused() -> None:
    for text in (
        "{apiVersion: cilium.io/v2alpha1, kind: CiliumEndpointSlice, metadata: {name: s}}",
        "{apiVersion: cilium.io/v2, kind: CiliumEnvoyConfig, metadata: {name: s}}",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: s}}",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: without-template}}",
    ):
        (count,) = read([("document", yaml.safe_load(text))]).passed_over.values()
        assert count == 1
