"""Documents as users have them, sorted by what they are: lists opened, absent fields dropped, what says nothing to policy counted.

One that stands twice, word for word, counts once; two that differ and bear one name are a fault: nobody knows which would be in force.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.errors import Fault, shown
from federation.identities import CLUSTER_LABEL
from federation.resources.foreign import CRD_GROUP, as_shown, without_absent

CALICO_GROUP = "projectcalico.org"
OF_OWNERS = {"ownerReferences", "generateName"}
"""Of these, what tells pods and workloads apart; `LENIENT` groups keep it."""
LENIENT = {"", "apps", "batch", "extensions"}
IN_FORCE = {"phase", "podIP", "podIPs", "hostIP", "hostIPs", "addresses"}
"""What of a status counts."""
POLICY_GROUPS = {
    CALICO_GROUP, "cilium.io", "policy.networking.k8s.io", "networking.k8s.io", "causeway.dev",
    "discovery.k8s.io",
}  # fmt: skip
"""API groups of which an unknown kind may be a policy: refused, not passed over."""
INDIFFERENT = {
    ("networking.k8s.io", kind) for kind in ("Ingress", "IngressClass", "IPAddress", "ServiceCIDR")
} | {
    ("cilium.io", kind)
    for kind in (
        "CiliumNode", "CiliumEndpoint", "CiliumEndpointSlice", "CiliumIdentity", "CiliumLoadBalancerIPPool", "CiliumNodeConfig",
        "CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig", "CiliumEgressGatewayPolicy", "CiliumLocalRedirectPolicy", "CiliumPodIPPool",
        "CiliumL2AnnouncementPolicy", "CiliumBGPPeeringPolicy", "CiliumBGPClusterConfig", "CiliumBGPPeerConfig", "CiliumBGPAdvertisement",
        "CiliumBGPNodeConfig", "CiliumBGPNodeConfigOverride", "CiliumExternalWorkload", "CiliumGatewayClassConfig", "CiliumVTEPConfig",
    )
} | {
    (CALICO_GROUP, kind)
    for kind in (
        "IPPool", "BGPConfiguration", "BGPPeer", "BGPFilter", "FelixConfiguration", "ClusterInformation", "KubeControllersConfiguration",
        "IPReservation", "CalicoNodeStatus", "IPAMConfiguration", "IPAMConfig", "IPAMBlock", "IPAMHandle", "BlockAffinity", "Node",
        "WorkloadEndpoint",
    )
} | {("causeway.dev", kind) for kind in ("Link", "Identity")}  # fmt: skip
"""Kinds of those groups that say nothing to policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A document and where it was read."""

    source: str
    """File and number of the document in it, for people."""
    document: Mapping[str, Any]
    root: str = ""
    """Where in the user's document this one stands, if it is a part of it."""

    @property
    def group(self) -> str:
        """API group; empty is the core group. Calico's, whichever of its two it is shown under."""
        version = str(self.document.get("apiVersion", ""))
        group = version.partition("/")[0] if "/" in version else ""
        return CALICO_GROUP if group == CRD_GROUP else group

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.document.get("kind", ""))

    def at(self, fault: Fault) -> "SourceFault":
        """A fault of it, where the user finds it."""
        return SourceFault(self.source, Fault(self.root + fault.pointer, fault.message))


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
    by_name: dict[tuple[str, ...], Sourced] = field(default_factory=dict)
    """By group, kind, cluster, namespace and name."""

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
    if not isinstance(document, Mapping):
        if document is not None:
            fault = Fault("", f"an object is needed, not {shown(document)}")
            result.faults.append(SourceFault(source, fault))
        return
    if (items := _items(document)) is not None:
        for index, item in enumerate(items):
            place = f"{source}, item {index}"
            if item is None:
                result.faults.append(SourceFault(place, Fault("", "an object is needed, not null")))
            _sort_one(result, place, item, known)
        return
    if str(document.get("kind")).endswith("List") and document.get("items") is not None:
        result.faults.append(SourceFault(source, Fault("/items", "a list is needed")))
        return
    for name in ("apiVersion", "kind"):
        if not isinstance(document.get(name), str) or not document[name]:
            result.faults.append(SourceFault(source, Fault(f"/{name}", "is needed")))
            return
    try:
        is_lenient = Sourced(source=source, document=document).group in LENIENT
        cleaned = without_absent(document, kept=OF_OWNERS if is_lenient else ())
        sourced = Sourced(source=source, document=as_shown(cleaned))
    except ValueError as error:
        result.faults.append(SourceFault(source, Fault("", str(error))))
        return
    _place(result, sourced, known)


def _place(result: Sorted, sourced: Sourced, known: set[tuple[str, str]]) -> None:
    source, place = sourced.source, (sourced.group, sourced.kind)
    if place in known:
        if not _has_stood(result, sourced):
            result.by_kind.setdefault(place, []).append(sourced)
    elif sourced.group in POLICY_GROUPS and place not in INDIFFERENT:
        message = f"unknown kind {sourced.kind!r} of {sourced.group}"
        result.faults.append(SourceFault(source, Fault("/kind", message)))
    else:
        result.passed_over[sourced.kind] = result.passed_over.get(sourced.kind, 0) + 1


def _items(document: Mapping[str, Any]) -> list[Any] | None:
    """The items of a list; as the API itself lists them they do not say what they are."""
    kind, items = document.get("kind"), document.get("items")
    if not isinstance(items, list) or not (kind is None or str(kind).endswith("List")):
        return None
    said = {"apiVersion": document.get("apiVersion"), "kind": str(kind or "").removesuffix("List")}
    is_typed = bool(said["kind"])
    return [{**said, **i} if is_typed and isinstance(i, Mapping) and "kind" not in i else i for i in items]


def _has_stood(result: Sorted, sourced: Sourced) -> bool:
    """Whether a document of that name was there before; a fault when it said something else."""
    metadata = sourced.document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(name, str) or not name:
        return False  # whoever reads it says so
    labels = metadata.get("labels")
    cluster = labels.get(CLUSTER_LABEL) if isinstance(labels, Mapping) else None
    where = (metadata.get("cluster") or cluster or "", metadata.get("namespace") or "default")
    key = (sourced.group, sourced.kind, *map(str, where), name)
    before = result.by_name.setdefault(key, sourced)
    if before is sourced:
        return False
    if _said(before) != _said(sourced):
        message = f"{sourced.kind} {name!r} stands twice and differs: see {before.source}"
        result.faults.append(SourceFault(sourced.source, Fault("/metadata/name", message)))
    return True


def _said(sourced: Sourced) -> dict[str, Any]:
    """What of a document counts when two are compared."""
    found = {k: v for k, v in sourced.document.items() if k not in ("metadata", "status")}
    metadata, status = sourced.document["metadata"], sourced.document.get("status")
    found["metadata"] = {k: v for k, v in metadata.items() if k not in ("annotations", "namespace")}
    if isinstance(status, Mapping):
        found |= {f"status/{k}": v for k, v in status.items() if k in IN_FORCE}
    return found
