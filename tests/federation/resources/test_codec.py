"""Documents: every fault by its pointer, and nothing lost on the way through."""

from typing import Any

import pytest

from federation.errors import InvalidInput
from federation.resources.codec import decode, encode


def faults(document: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        decode(document)
    return {fault.pointer: fault.message for fault in caught.value.faults}


def policy(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": spec,
    }


def cluster(prefixes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "causeway.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": "dc1"},
        "spec": {"prefixes": prefixes},
    }


def test_a_calico_policy_is_taken_as_it_stands_and_its_types_are_inferred() -> None:
    rule = {"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.0.0.0/8"], "ports": [80, "1:2"]}}
    assert encode(decode(policy(ingress=[rule])))["spec"] == {"types": ["Ingress"], "ingress": [rule]}
    assert decode(policy(egress=[rule])).spec.types == ("Egress",)
    assert decode(policy(ingress=[rule], egress=[rule])).spec.types == ("Ingress", "Egress")
    assert decode(policy()).spec.types == ("Ingress",)


def test_all_faults_are_found_at_once() -> None:
    rule = {"source": {"nets": ["10.0.0.1/8"], "bogus": 1}, "protocol": []}
    assert set(faults(policy(orde=1, ingress=[rule]))) == {
        "/spec/orde", "/spec/ingress/0/action", "/spec/ingress/0/protocol", "/spec/ingress/0/source/nets/0", "/spec/ingress/0/source/bogus",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"action": "Permit"}, "/action"), ({"action": "Allow", "protocol": "TCPX"}, "/protocol"), ({"action": "Allow", "protocol": 300}, "/protocol"),
        ({"action": "Allow", "destination": {"ports": [80]}}, "/protocol"), ({"action": "Allow", "protocol": "TCP", "destination": {"ports": ["9:1"]}}, "/destination/ports/0"),
        ({"action": "Allow", "icmp": {"type": 8}}, "/protocol"), ({"action": "Allow", "protocol": "ICMP", "icmp": {"type": 255}}, "/icmp/type"),
        ({"action": "Allow", "source": {"notNets": ["0.0.0.0/0"]}}, "/source/notNets/0"), ({"action": "Allow", "source": {"nets": ["10.0.0.0/8", "fd00::/8"]}}, "/source/nets"),
        ({"action": "Allow", "source": {"selector": "a ="}}, "/source/selector"), ({"action": "Allow", "source": {"selector": "global()"}}, "/source/selector"),
    ],
)  # fmt: skip
def test_a_rule_is_checked_as_strictly_as_calico_does(rule: dict[str, Any], pointer: str) -> None:
    assert f"/spec/ingress/0{pointer}" in faults(policy(ingress=[rule]))


def test_a_list_and_an_object_are_asked_for_by_name() -> None:
    assert faults(cluster("10.0.0.0/8")) == {"/spec/prefixes": "a list is needed, not '10.0.0.0/8'"}
    assert faults({**cluster([]), "metadata": []})["/metadata"] == "an object is needed, not []"


def test_a_prefix_with_host_bits_is_told_its_canonical_form_and_overlaps_are_refused() -> None:
    assert "10.0.0.0/8" in faults(cluster(["10.0.0.1/8"]))["/spec/prefixes/0"]
    assert "overlaps" in faults(cluster(["10.0.0.0/8", "10.1.0.0/16"]))["/spec/prefixes/1"]


def test_names_and_labels_are_those_of_kubernetes_and_fit_the_scope() -> None:
    bad = {**policy(), "metadata": {"name": "A b", "cluster": "x", "labels": {"a/b/c": "1", "k": "-"}}}
    assert set(faults(bad)) == {
        "/metadata/name",
        "/metadata/cluster",
        "/metadata/labels/a~1b~1c",
        "/metadata/labels/k",
    }
