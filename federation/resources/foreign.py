"""Documents of other APIs in our frame: what their servers added is dropped, their cluster is read off a label, absent is absent.

A document of ours (`causeway.dev/v1`) is left as it is. One of Kubernetes, Calico or Cilium may be what `kubectl get -o yaml` gave.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from federation.identities import CLUSTER_LABEL
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, Scope

MAX_PARTS = 5_000_000
"""Mappings, lists and scalars of one document, anchors expanded: more is taken for a bomb."""
MAX_DEPTH = 100
SCALARS = frozenset({str, int, float, bool})
ADDED_BY_SERVERS = {
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
    "ownerReferences", "selfLink", "finalizers", "generateName", "clusterName", "initializers",
}  # fmt: skip
"""What a Kubernetes API server adds to metadata; the last two, releases that are gone."""
TEXT_MAPS = {"labels", "matchLabels", "annotations"}
"""Mappings of texts, in which Kubernetes reads null as the empty text."""
CRD_GROUP = "crd.projectcalico.org"
"""Under which kubectl shows Calico's resources as Calico's own API server stores them."""
KEPT_ASIDE = "projectcalico.org/metadata"
"""The annotation in which Calico then keeps the labels and annotations that its API shows."""
SEVERAL = "specs"
"""Cilium's field beside `spec`; in our frame it stands in the spec."""


def framed(kind: Kind, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document as ours would be. Raises ValueError when anchors blow it up, or it is nested beyond reason."""
    if document.get("apiVersion") in (API_VERSION, None):
        return document
    cleaned = as_shown(without_absent(document))
    metadata = cleaned.get("metadata", {})
    found = {"apiVersion": cleaned["apiVersion"], "kind": kind.name, "metadata": metadata}
    if isinstance(metadata, dict):
        found["metadata"] = placed(kind, metadata)
    if kind.is_only_labels:
        return found
    found |= {name: value for name, value in cleaned.items() if name not in (*found, "status")}
    spec = found.get("spec", {})
    if SEVERAL in found and kind.has_several_specs and isinstance(spec, dict):
        found["spec"] = {**spec, SEVERAL: found.pop(SEVERAL)}
    return found


def as_shown(document: dict[str, Any]) -> dict[str, Any]:
    """A resource of Calico as its API shows it, if this is one as it is stored. Raises ValueError when it is damaged."""
    metadata = document.get("metadata")
    if not str(document.get("apiVersion")).startswith(f"{CRD_GROUP}/") or not isinstance(metadata, dict):
        return document
    annotations = metadata.get("annotations")
    if not isinstance(annotations, dict) or not isinstance(annotations.get(KEPT_ASIDE), str):
        return document
    try:
        kept = json.loads(annotations[KEPT_ASIDE])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotation {KEPT_ASIDE} is not JSON") from error
    shown = {**metadata, "annotations": {k: v for k, v in annotations.items() if k != KEPT_ASIDE}}
    for part in ("labels", "annotations"):
        given = kept.get(part) if isinstance(kept, dict) else None
        if isinstance(given, dict) and isinstance(shown.get(part, {}), dict):
            shown[part] = {**given, **shown.get(part, {})}
    return {**document, "metadata": shown}


def placed(kind: Kind, metadata: Mapping[str, Any], home: str = "") -> dict[str, Any]:
    """Metadata with the cluster that its label names (else `home`, for kinds that have one), and Kubernetes' default namespace."""
    found = dict(metadata)
    labels = found.get("labels")
    label = labels.get(CLUSTER_LABEL) if isinstance(labels, Mapping) else None
    if kind.scope is not Scope.FEDERATION and not found.get("cluster") and (label or home):
        found["cluster"] = label or home
    if kind.scope is Scope.NAMESPACE:
        found["namespace"] = found.get("namespace") or "default"
    else:
        found.pop("namespace", None)
    return found


def pointer_in(document: Mapping[str, Any], pointer: str) -> str:
    """Where the user's document has what the frame has at `pointer`."""
    inner = f"/spec/{SEVERAL}"
    is_moved = SEVERAL in document and document.get("apiVersion") != API_VERSION
    return pointer.removeprefix("/spec") if is_moved and pointer.startswith(inner) else pointer


def without_absent(document: Mapping[str, Any], kept: Collection[str] = ()) -> dict[str, Any]:
    """The document without nulls (in Kubernetes a null is an absent field) and without what an API server added to its metadata,
    but for what is `kept`.

    Raises ValueError when anchors blow it up, or it is nested beyond reason.
    """
    budget = [MAX_PARTS]

    def clean(value: Any, depth: int, name: str = "") -> Any:
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError(f"more than {MAX_PARTS} parts once its anchors are expanded")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if type(value) in SCALARS:
            return value
        if isinstance(value, (dict, Mapping)):  # asking dict first is five times as fast
            if name in TEXT_MAPS:
                return {str(k): "" if v is None else clean(v, depth + 1) for k, v in value.items()}
            return {str(k): clean(v, depth + 1, str(k)) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [clean({} if v is None else v, depth + 1) for v in value]
        return value

    cleaned: dict[str, Any] = clean(document, 0)
    metadata = cleaned.get("metadata")
    if isinstance(metadata, dict):
        cleaned["metadata"] = {k: v for k, v in metadata.items() if k in kept or k not in ADDED_BY_SERVERS}
    return cleaned
