"""Documents of other APIs, as `kubectl get -o yaml` gives them, through the one codec."""

from typing import Any

import pytest

from federation.errors import InvalidInput
from federation.resources.codec import decode, encode

SERVED = {
    "uid": "u",
    "resourceVersion": "7",
    "creationTimestamp": None,
    "managedFields": [{"manager": "kubectl"}],
}


def document(version: str, kind: str, spec: Any = None, **meta: Any) -> dict[str, Any]:
    metadata = {"name": "p", **SERVED, **meta}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "status": {"phase": "x"}} | (
        {} if spec is None else {"spec": spec}
    )


CNP_SPEC = {"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]}
ADMIN_SPEC = {
    "priority": 3,
    "subject": {"namespaces": {}},
    "egress": [{"action": "Deny", "to": [{"nodes": {}}]}],
}
DOCUMENTS = [
    (document("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}}, namespace="x"), "KubernetesNetworkPolicy -/x/p"),
    (document("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}}), "KubernetesNetworkPolicy -/default/p"),
    (document("extensions/v1beta1", "NetworkPolicy"), "KubernetesNetworkPolicy -/default/p"),
    (document("projectcalico.org/v3", "NetworkPolicy", {"selector": "all()"}, namespace="x"), "NetworkPolicy -/x/p"),
    (document("projectcalico.org/v3", "StagedKubernetesNetworkPolicy", {"stagedAction": "Set"}), "StagedKubernetesNetworkPolicy -/default/p"),
    (document("projectcalico.org/v3", "GlobalNetworkPolicy", {"types": ["Egress"]}, namespace="gone"), "GlobalNetworkPolicy p"),
    (document("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", ADMIN_SPEC), "AdminNetworkPolicy p"),
    (document("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", {**ADMIN_SPEC, "tier": "Admin"}), "ClusterNetworkPolicy p"),
    (document("cilium.io/v2", "CiliumNetworkPolicy", CNP_SPEC, namespace="x"), "CiliumNetworkPolicy -/x/p"),
    (document("cilium.io/v2", "CiliumClusterwideNetworkPolicy", CNP_SPEC), "CiliumClusterwideNetworkPolicy p"),
    (document("cilium.io/v2", "CiliumCIDRGroup", {"externalCIDRs": ["10.0.0.0/8"]}), "CiliumCIDRGroup p"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "key"), DOCUMENTS)
def test_a_document_is_taken_as_an_api_server_gives_it_and_nothing_of_its_spec_is_lost(
    given: dict[str, Any], key: str
) -> None:
    resource = decode(given)
    assert str(resource.key) == key
    assert decode(encode(resource)) == resource
    assert encode(resource)["apiVersion"] == "causeway.dev/v1"


@pytest.mark.parametrize("given", [given for given, _ in DOCUMENTS if "Global" not in given["kind"]])
def test_the_cluster_is_the_label_s(given: dict[str, Any]) -> None:
    meta = {**given["metadata"], "labels": {"causeway.dev/cluster": "dc1"}}
    resource = decode({**given, "metadata": meta})
    assert resource.key.cluster == "dc1"
    assert decode(encode(resource)) == resource


def test_namespaces_and_accounts_are_their_labels() -> None:
    labels = {"causeway.dev/cluster": "dc1", "team": "pay"}
    space = decode(document("v1", "Namespace", {"finalizers": ["kubernetes"]}, labels=labels))
    assert (str(space.key), dict(space.metadata.labels)) == ("Namespace dc1/p", labels)
    account = document("v1", "ServiceAccount", labels=labels, namespace="x") | {"secrets": [{"name": "s"}]}
    assert str(decode(account).key) == "ServiceAccount dc1/x/p"
    with pytest.raises(InvalidInput) as caught:
        decode(document("v1", "Namespace"))
    assert [fault.pointer for fault in caught.value.faults] == ["/metadata/cluster"]


def test_several_specs_of_cilium_are_kept_apart_and_faults_stand_where_the_user_wrote_them() -> None:
    given = document("cilium.io/v2", "CiliumNetworkPolicy", namespace="x") | {"specs": [CNP_SPEC, CNP_SPEC]}
    places = [place for place, _ in decode(given).spec.rules()]
    assert places == ["specs/0", "specs/1"]
    both = decode({**given, "spec": CNP_SPEC})
    assert [place for place, _ in both.spec.rules()] == ["spec", "specs/0", "specs/1"]
    assert decode(encode(both)) == both
    bad = {"endpointSelector": {}, "ingress": [{"fromCIDR": ["x"]}]}
    with pytest.raises(InvalidInput) as caught:
        decode({**given, "specs": [CNP_SPEC, bad, {**CNP_SPEC, "zz": 1}]})
    assert [fault.pointer for fault in caught.value.faults] == ["/specs/2/zz"]
    with pytest.raises(InvalidInput) as caught:
        decode({**given, "specs": [CNP_SPEC, bad]})
    assert [fault.pointer for fault in caught.value.faults] == ["/specs/1/ingress/0/fromCIDR/0"]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (document("cilium.io/v2", "CiliumNetworkPolicy"), "/spec"),
        (document("cilium.io/v1", "CiliumNetworkPolicy", CNP_SPEC), "/apiVersion"),
        (document("networking.k8s.io/v1", "NetworkPolic"), "/kind"),
        (document("networking.k8s.io/v1", "KubernetesNetworkPolicy"), "/apiVersion"),
        ({"apiVersion": "v1", "kind": 3}, "/kind"),
        ({"apiVersion": [], "kind": "Namespace"}, "/apiVersion"),
    ],
)
def test_what_is_no_document_of_a_known_kind_is_refused_by_pointer(
    given: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(given)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
