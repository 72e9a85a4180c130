"""Documents as users have them, sorted by what they are: lists opened, absent fields dropped, what says nothing to policy counted."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.errors import Fault

MAX_PARTS = 5_000_000
"""Mappings, lists and scalars of one document, anchors expanded: more is taken for a bomb."""
OBJECT_META = {
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
    "ownerReferences", "selfLink", "finalizers", "generateName",
}  # fmt: skip
"""What a Kubernetes API server adds to metadata."""
POLICY_GROUPS = {
    "projectcalico.org", "crd.projectcalico.org", "cilium.io", "policy.networking.k8s.io", "networking.k8s.io", "causeway.dev",
    "discovery.k8s.io",
}  # fmt: skip
"""API groups of which an unknown kind may be a policy: refused, not passed over."""
INDIFFERENT = {
    ("networking.k8s.io", kind) for kind in ("Ingress", "IngressClass", "IPAddress", "ServiceCIDR")
} | {
    ("cilium.io", kind)
    for kind in ("CiliumNode", "CiliumEndpoint", "CiliumIdentity", "CiliumLoadBalancerIPPool", "CiliumNodeConfig")
} | {
    ("projectcalico.org", kind)
    for kind in (
        "IPPool", "BGPConfiguration", "BGPPeer", "BGPFilter", "FelixConfiguration", "ClusterInformation", "KubeControllersConfiguration",
        "IPReservation", "CalicoNodeStatus", "IPAMConfiguration",
    )
} | {("causeway.dev", kind) for kind in ("Link", "Identity")}  # fmt: skip
"""Kinds of those groups that say nothing to policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A document and where it was read."""

    source: str
    """File and number of the document in it, for people."""
    document: Mapping[str, Any]

    @property
    def group(self) -> str:
        """API group; empty is the core group."""
        version = str(self.document.get("apiVersion", ""))
        return version.partition("/")[0] if "/" in version else ""

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.document.get("kind", ""))


@dataclass(frozen=True, slots=True)
class SourceFault:
    """A fault and the document that has it."""

    source: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.source}: {self.fault.pointer or '/'}: {self.fault.message}"


@dataclass(slots=True)
class Sorted:
    """Documents by (group, kind); faults of those that are none; how many were passed over."""

    by_kind: dict[tuple[str, str], list[Sourced]] = field(default_factory=dict)
    faults: list[SourceFault] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)

    def of(self, group: str, *kinds: str) -> Iterator[Sourced]:
        """The documents of some kinds of one group."""
        for kind in kinds:
            yield from self.by_kind.get((group, kind), ())


def sort_documents(documents: Iterable[tuple[str, Any]], known: set[tuple[str, str]]) -> Sorted:
    """Sort (source, document) pairs; lists are opened."""
    result = Sorted()
    for source, document in documents:
        _sort_one(result, source, document, known)
    return result


def _sort_one(result: Sorted, source: str, document: Any, known: set[tuple[str, str]]) -> None:
    if document is None:
        return
    if not isinstance(document, Mapping):
        fault = Fault("", f"an object is needed, not {type(document).__name__}")
        result.faults.append(SourceFault(source, fault))
        return
    kind = document.get("kind")
    if isinstance(document.get("items"), list) and (kind is None or str(kind).endswith("List")):
        for index, item in enumerate(document["items"]):
            _sort_one(result, f"{source}, item {index}", item, known)
        return
    for name in ("apiVersion", "kind"):
        if not isinstance(document.get(name), str) or not document[name]:
            result.faults.append(SourceFault(source, Fault(f"/{name}", "is needed")))
            return
    try:
        sourced = Sourced(source=source, document=without_absent(document))
    except ValueError as error:
        result.faults.append(SourceFault(source, Fault("", str(error))))
        return
    place = (sourced.group, sourced.kind)
    if place in known:
        result.by_kind.setdefault(place, []).append(sourced)
    elif sourced.group in POLICY_GROUPS and place not in INDIFFERENT:
        message = f"unknown kind {sourced.kind!r} of {sourced.group}"
        result.faults.append(SourceFault(source, Fault("/kind", message)))
    else:
        result.passed_over[sourced.kind] = result.passed_over.get(sourced.kind, 0) + 1


def without_absent(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without nulls (in Kubernetes a null is an absent field) and without what an API server added to its metadata.

    Raises ValueError when anchors blow it up, or it is nested beyond reason.
    """
    budget = [MAX_PARTS]

    def clean(value: Any, depth: int) -> Any:
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError(f"more than {MAX_PARTS} parts once its anchors are expanded")
        if depth > 100:
            raise ValueError("nested deeper than 100")
        if isinstance(value, Mapping):
            return {str(k): clean(v, depth + 1) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [clean({} if v is None else v, depth + 1) for v in value]
        return value

    cleaned: dict[str, Any] = clean(document, 0)
    metadata = cleaned.get("metadata")
    if isinstance(metadata, dict):
        cleaned["metadata"] = {k: v for k, v in metadata.items() if k not in OBJECT_META}
    return cleaned
