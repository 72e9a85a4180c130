"""Where a document is, as far as rights are concerned."""

from collections.abc import Mapping
from typing import Any

from federation.access.scopes import Place
from federation.doors.documents import ADMIN_KINDS, CALICO_KINDS, POLICY_KINDS
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL

DEFAULT_TIER = "default"


def places_of(document: Mapping[str, Any]) -> tuple[Place, ...]:
    """All the places that a document, as the codec writes it, reaches: who may touch it holds a right at each of them. Of an object that is gone
    only the names may be there."""
    kind, meta = document["kind"], document["metadata"]
    spec = document.get("spec") or {}
    cluster, namespace = meta.get("cluster") or None, meta.get("namespace") or None
    match kind:
        case "Cluster":
            return (Place(cluster=meta["name"]),)
        case "Namespace":
            return (Place(cluster=cluster, namespace=meta["name"]),)
        case "Link":
            return tuple(Place(cluster=name) for name in spec.get("clusters", ())) or (Place(),)
        case "Identity":
            labels = spec.get("labels", {})
            return (Place(cluster=labels.get(CLUSTER_LABEL), namespace=labels.get(NAMESPACE_LABEL)),)
        case _ if kind in POLICY_KINDS:
            return (Place(cluster=cluster, namespace=namespace, tier=tier_of(kind, spec)),)
    return (Place(cluster=cluster, namespace=namespace),)


def tier_of(kind: str, spec: Mapping[str, Any]) -> str:
    """The tier that a policy is in."""
    if kind in CALICO_KINDS:
        return str(spec.get("tier") or DEFAULT_TIER)
    if kind in ADMIN_KINDS:
        is_baseline = kind == "BaselineAdminNetworkPolicy" or spec.get("tier") == "Baseline"
        return "kube-baseline" if is_baseline else "kube-admin"
    return DEFAULT_TIER
