"""Deployments and their like as pods: where no pod of theirs is among the documents, one stands for all of them.

It has the labels, ports, account and network of their template, and no address: prefixes do not match it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from federation.identities import CLUSTER_LABEL
from federation.simulation.sources import Sorted, Sourced

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "CronJob", "Job")
"""In the order in which they take a name that several have; a later one is called `name.kind`."""
GROUPS = {
    **dict.fromkeys(("Deployment", "DaemonSet", "ReplicaSet"), ("apps", "extensions")),
    "StatefulSet": ("apps",),
    "ReplicationController": ("",),
    "CronJob": ("batch",),
    "Job": ("batch",),
}
WORKLOADS = {(group, kind) for kind, groups in GROUPS.items() for group in groups}
MADE_BY = {
    "ReplicaSet": ("Deployment", re.compile(r"(.+)-[a-z0-9]+")),
    "Job": ("CronJob", re.compile(r"(.+)-[0-9]+")),
}
"""Kinds that others make, and how those name them."""
Owner = tuple[str, str, str, str]
"""Cluster, namespace, kind, name."""


def stand_ins(documents: Sorted) -> Iterator[Sourced]:
    """A pod's document for each workload that no pod and no other workload of the documents represents."""
    listed = [(kind, s) for kind in KINDS for group in GROUPS[kind] for s in documents.of(group, kind)]
    pods = list(documents.of("", "Pod"))
    there = {_owner(kind, sourced) for kind, sourced in listed}
    owned = {owner for sourced in pods for owner in _makers(sourced, there)}
    for kind, sourced in listed:
        if _owner(kind, sourced) in owned:
            owned.update(_makers(sourced, there))
    taken = {_place(sourced) for sourced in pods}
    for kind, sourced in listed:
        is_made = any(maker in there for maker in _makers(sourced, there))
        if _owner(kind, sourced) in owned or is_made:
            continue
        root, template = _template(kind, sourced.document)
        if template is None:
            documents.passed_over[kind] = documents.passed_over.get(kind, 0) + 1
            continue
        cluster, namespace, name = _place(sourced)
        if (cluster, namespace, name) in taken:
            name = f"{name}.{kind.lower()}"
        taken.add((cluster, namespace, name))
        yield _pod(sourced, root, template, name)


def _pod(sourced: Sourced, root: str, template: Mapping[str, Any], name: str) -> Sourced:
    given = template.get("metadata")
    labels = given.get("labels", {}) if isinstance(given, Mapping) else {}
    cluster = _labels(sourced).get(CLUSTER_LABEL)
    if cluster is not None and isinstance(labels, Mapping):
        labels = {CLUSTER_LABEL: cluster, **labels}
    metadata = {"name": name, "namespace": _place(sourced)[1], "labels": labels}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec", {})}
    return Sourced(source=sourced.source, document=document, root=root)


def _template(kind: str, document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Where the template of pods stands, and the template."""
    path = ("spec", "jobTemplate", "spec", "template") if kind == "CronJob" else ("spec", "template")
    value: Any = document
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return "/" + "/".join(path), value if isinstance(value, Mapping) else None


def _makers(sourced: Sourced, there: set[Owner]) -> Iterator[Owner]:
    """Who made an object: whom its owner references name, and whom the name of an owner that is not there gives away."""
    references = _metadata(sourced).get("ownerReferences")
    cluster, namespace, _ = _place(sourced)
    for each in references if isinstance(references, list) else ():
        if not isinstance(each, Mapping):
            continue
        kind, name = str(each.get("kind", "")), str(each.get("name", ""))
        owner = (cluster, namespace, kind, name)
        yield owner
        if kind in MADE_BY and owner not in there:
            maker, pattern = MADE_BY[kind]
            if found := pattern.fullmatch(name):
                yield cluster, namespace, maker, found[1]


def _owner(kind: str, sourced: Sourced) -> Owner:
    cluster, namespace, name = _place(sourced)
    return cluster, namespace, kind, name


def _place(sourced: Sourced) -> tuple[str, str, str]:
    metadata = _metadata(sourced)
    name = metadata.get("name") or str(metadata.get("generateName", "")).rstrip("-")
    cluster = _labels(sourced).get(CLUSTER_LABEL, "")
    return str(cluster), str(metadata.get("namespace") or "default"), str(name)


def _metadata(sourced: Sourced) -> Mapping[str, Any]:
    found = sourced.document.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _labels(sourced: Sourced) -> Mapping[str, Any]:
    found = _metadata(sourced).get("labels")
    return found if isinstance(found, Mapping) else {}
