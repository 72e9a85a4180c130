"""Several clusters in one simulation: whose pods a policy selects, and whom its peers mean."""

from typing import Any

import pytest
import yaml

from federation.simulation.probes import Judge
from federation.simulation.reading import read

OPEN_TO_OWN = {
    "kubernetes": "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x%s}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}}",
    "cilium": "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: x%s}, spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}}",
    "administrators": "{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: p%s}, spec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]}}",
}  # fmt: skip


def pod(cluster: str, name: str, address: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "x", "labels": {"causeway.dev/cluster": cluster} if cluster else {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": {"podIP": address}}


PODS = [
    pod("", "a", "10.1.0.1"),
    pod("", "b", "10.1.0.2"),
    pod("c2", "c", "10.2.0.1"),
    pod("c2", "d", "10.2.0.2"),
]


def said(text: str, home: str, source: str, to: str) -> str:
    documents = [*PODS, yaml.safe_load(text)]
    answer = Judge(read(((str(n), d) for n, d in enumerate(documents)), home)).answer(
        {"from": source, "to": to, "port": 80}
    )
    return str(answer["verdict"])


@pytest.mark.parametrize("world", ["kubernetes", "cilium"])
def test_peers_are_of_the_subjects_own_cluster(world: str) -> None:
    text = OPEN_TO_OWN[world] % ""
    for home in ("", "c1"):
        assert said(text, home, "x/b", "x/a") == "Allow"
        assert said(text, home, "x/c", "x/a") == "Deny"


@pytest.mark.parametrize("world", OPEN_TO_OWN)
def test_a_policy_that_names_no_cluster_is_the_given_ones_or_everybodys(world: str) -> None:
    text = OPEN_TO_OWN[world] % ""
    assert said(text, "c1", "x/a", "x/c") == "Allow"  # c2's pods are not under a policy of c1
    if world != "administrators":
        assert said(text, "", "x/a", "x/c") == "Deny"


@pytest.mark.parametrize("world", ["kubernetes", "cilium"])
def test_a_label_says_whose_policy_it_is(world: str) -> None:
    text = OPEN_TO_OWN[world] % ", labels: {causeway.dev/cluster: c2}"
    for home in ("", "c1"):
        assert said(text, home, "x/a", "x/c") == "Deny"
        assert said(text, home, "x/c", "x/a") == "Allow"
