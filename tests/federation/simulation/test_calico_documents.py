"""Calico's documents as people have them: lists, what kubectl shows of stored resources, what servers add. One sentence each."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.errors import InvalidInput
from federation.resources.codec import decode
from federation.simulation.probes import Judge
from federation.simulation.reading import read

Ask = Callable[..., Any]
V3, CRD = "projectcalico.org/v3", "crd.projectcalico.org/v1"
DENY = {"selector": "pod == 'a'", "ingress": []}


def doc(kind: str, spec: dict[str, Any], version: str = V3, name: str = "p", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def listed(kind: str, *items: dict[str, Any]) -> str:
    head = {"apiVersion": V3, "kind": kind, "metadata": {"resourceVersion": "12"}}
    return yaml.safe_dump({**head, "items": list(items)})


def test_lists_of_policies_are_opened(ask: Ask) -> None:
    assert ask(listed("GlobalNetworkPolicyList", doc("GlobalNetworkPolicy", DENY)))("x/b", "x/a") == "Deny"
    own = doc("NetworkPolicy", DENY, namespace="x")
    assert ask(listed("NetworkPolicyList", own))("x/b", "x/a") == "Deny"
    assert (
        ask(listed("List", own, doc("GlobalNetworkPolicy", {**DENY, "selector": "pod == 'b'"})))("x/a", "y/b")
        == "Deny"
    )


def test_items_that_do_not_say_what_they_are_are_what_their_list_says(ask: Ask) -> None:
    item = {"metadata": {"name": "p"}, "spec": DENY}
    assert ask(listed("GlobalNetworkPolicyList", item))("x/b", "x/a") == "Deny"
    with pytest.raises(InvalidInput) as caught:
        ask(listed("GlobalNetworkPolicyList", item, {"metadata": {"name": "q"}, "spec": {"order": "x"}}))
    (fault,) = caught.value.faults
    assert fault.pointer.endswith(", item 1: /spec/order")


def test_an_empty_list_is_nothing(ask: Ask) -> None:
    assert ask(listed("TierList"))("x/b", "x/a") == "Allow"


STORED = [
    doc("GlobalNetworkPolicy", {**DENY, "tier": "default", "types": ["Ingress"]}, CRD, "default.deny", annotations={"projectcalico.org/metadata": '{"uid": "u"}'}),
    doc("NetworkPolicy", DENY, CRD, "knp.default.a.b", namespace="x"), doc("NetworkPolicy", {**DENY, "tier": "security"}, CRD, "security.deny", namespace="x"),
]  # fmt: skip


@pytest.mark.parametrize("stored", STORED, ids=lambda d: d["metadata"]["name"])
def test_a_policy_as_kubectl_shows_it_is_that_policy(
    judge_of: Callable[..., Judge], stored: dict[str, Any]
) -> None:
    answer = judge_of(yaml.safe_dump(stored)).answer({"from": "x/b", "to": "x/a", "port": 80})
    assert (answer["verdict"], answer["ingress"]["tier"]) == ("Deny", stored["spec"].get("tier", "default"))


def test_a_policy_that_kubectl_shows_names_itself_so_in_the_answer(judge_of: Callable[..., Judge]) -> None:
    text = yaml.safe_dump(doc("GlobalNetworkPolicy", {"ingress": [{"action": "Deny"}]}, CRD, "default.deny"))
    answer = judge_of(text).answer({"from": "x/b", "to": "x/a", "port": 80})
    assert answer["ingress"]["policy"] == {
        "kind": "GlobalNetworkPolicy",
        "namespace": "",
        "name": "default.deny",
    }


def test_labels_that_calico_keeps_in_an_annotation_count(ask: Ask) -> None:
    kept = {
        "projectcalico.org/metadata": json.dumps({"labels": {"role": "dns"}, "annotations": {"why": "x"}})
    }
    nets = doc("GlobalNetworkSet", {"nets": ["8.0.0.0/8"]}, CRD, "s", annotations=kept)
    egress = [{"action": "Allow", "destination": {"selector": "role == 'dns'"}}]
    said = ask(
        yaml.safe_dump_all([nets, doc("GlobalNetworkPolicy", {"selector": "pod == 'a'", "egress": egress})])
    )
    assert [said("x/a", to) for to in ("8.8.8.8", "9.9.9.9")] == ["Allow", "Deny"]


@pytest.mark.parametrize("damaged", ["{", "[" * 100_000])
def test_an_annotation_of_calicos_that_is_damaged_is_told(ask: Ask, damaged: str) -> None:
    with pytest.raises(InvalidInput, match="1 fault"):
        ask(
            yaml.safe_dump(
                doc("GlobalNetworkSet", {}, CRD, annotations={"projectcalico.org/metadata": damaged})
            )
        )


def test_the_control_plane_takes_them_as_well() -> None:
    kept = {"projectcalico.org/metadata": json.dumps({"labels": {"role": "dns"}})}
    taken = decode(doc("GlobalNetworkSet", {"nets": ["8.0.0.0/8"]}, CRD, "s", annotations=kept))
    assert (taken.metadata.name, taken.metadata.labels) == ("s", {"role": "dns"})
    assert decode(doc("Tier", {"order": 5}, CRD, "security")).spec.order == 5


def test_what_servers_add_is_no_fault(ask: Ask) -> None:
    added = {
        "uid": "u", "resourceVersion": "9", "generation": 2, "creationTimestamp": None, "managedFields": [{"manager": "x"}], "finalizers": ["f"],
        "ownerReferences": [{"kind": "x"}], "selfLink": "/x", "clusterName": "", "deletionGracePeriodSeconds": 30, "generateName": "p-",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}\n"}, "labels": None,
    }  # fmt: skip
    policy = doc("GlobalNetworkPolicy", DENY, **added) | {
        "status": {"conditions": [{"type": "Valid", "observedGeneration": 1}]}
    }
    tier = doc("Tier", {"order": 5}, name="t", **added) | {
        "status": {"conditions": [{"lastTransitionTime": "now"}]}
    }
    assert ask(yaml.safe_dump_all([policy, tier]))("x/b", "x/a") == "Deny"


def test_resources_of_calico_that_say_nothing_to_policy_are_passed_over() -> None:
    kinds = (
        "IPPool",
        "Node",
        "WorkloadEndpoint",
        "BGPPeer",
        "IPAMBlock",
        "BlockAffinity",
        "FelixConfiguration",
    )
    found = read(
        (str(n), doc(kind, {"x": n}, version))
        for n, (kind, version) in enumerate((k, v) for k in kinds for v in (V3, CRD))
    )
    assert found.passed_over == dict.fromkeys(kinds, 2)


def test_an_unknown_kind_of_calicos_is_refused(ask: Ask) -> None:
    for version in (V3, CRD):
        with pytest.raises(InvalidInput) as caught:
            ask(yaml.safe_dump(doc("GlobalNetworkPolity", {}, version)))
        assert caught.value.faults[0].pointer.endswith(": /kind")


def test_an_unknown_version_is_refused(ask: Ask) -> None:
    for version in ("projectcalico.org/v2", "crd.projectcalico.org/v2"):
        with pytest.raises(InvalidInput) as caught:
            ask(yaml.safe_dump(doc("GlobalNetworkPolicy", {}, version)))
        assert caught.value.faults[0].pointer.endswith(": /apiVersion")
