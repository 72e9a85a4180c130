"""Where documents are."""

from typing import Any

import pytest

from federation.access.places import places_of
from federation.access.scopes import EVERYWHERE, Place


def document(kind: str, meta: dict[str, str], spec: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": kind, "metadata": meta, "spec": spec or {}}


IN_DC1 = {"name": "x", "cluster": "dc1"}
IN_SHOP = {**IN_DC1, "namespace": "shop"}


@pytest.mark.parametrize(
    ("given", "places"),
    [
        (document("Cluster", {"name": "dc1"}), [Place(cluster="dc1")]),
        (document("Node", IN_DC1), [Place(cluster="dc1")]),
        (document("Namespace", {"name": "shop", "cluster": "dc1"}), [Place(cluster="dc1", namespace="shop")]),
        (document("Endpoint", IN_SHOP), [Place(cluster="dc1", namespace="shop")]),
        (document("Link", {"name": "l"}, {"clusters": ["dc1", "aws1"]}), [Place(cluster="dc1"), Place(cluster="aws1")]),
        (document("Link", {"name": "l"}), [EVERYWHERE]),
        (document("Identity", {"name": "300"}, {"labels": {"causeway.dev/cluster": "dc1", "projectcalico.org/namespace": "shop"}}), [Place(cluster="dc1", namespace="shop")]),
        (document("Identity", {"name": "2"}), [EVERYWHERE]),
        (document("Tier", {"name": "security"}), [EVERYWHERE]),
        (document("GlobalNetworkSet", {"name": "s"}), [EVERYWHERE]),
        (document("RoleBinding", {"name": "s"}), [EVERYWHERE]),
        (document("GlobalNetworkPolicy", {"name": "p"}, {"tier": "security"}), [Place(tier="security")]),
        (document("GlobalNetworkPolicy", {"name": "p"}), [Place(tier="default")]),
        (document("NetworkPolicy", IN_SHOP, {"tier": "security"}), [Place(cluster="dc1", namespace="shop", tier="security")]),
        (document("KubernetesNetworkPolicy", {"name": "p", "namespace": "shop"}), [Place(namespace="shop", tier="default")]),
        (document("AdminNetworkPolicy", {"name": "p"}), [Place(tier="kube-admin")]),
        (document("ClusterNetworkPolicy", {"name": "p"}, {"tier": "Baseline"}), [Place(tier="kube-baseline")]),
        (document("BaselineAdminNetworkPolicy", {"name": "p"}), [Place(tier="kube-baseline")]),
        (document("CiliumNetworkPolicy", IN_SHOP), [Place(cluster="dc1", namespace="shop", tier="default")]),
    ],
)  # fmt: skip
def test_a_document_is_where_its_effect_is(given: dict[str, Any], places: list[Place]) -> None:
    assert list(places_of(given)) == places
