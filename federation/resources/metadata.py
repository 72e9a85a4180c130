"""The frame that every resource shares: key, metadata, spec, status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

API_VERSION = "causeway.dev/v1"
"""The version that Causeway writes. Doors may accept others (see `Kind.accepted_versions`)."""

NO_CLUSTER = "-"
"""Stands in keys and paths for "no cluster named" of a namespaced kind."""


class Scope(StrEnum):
    """Which parts of the metadata name a resource."""

    FEDERATION = "Federation"
    """`name` alone."""
    CLUSTER = "Cluster"
    """`cluster`, `name`."""
    NAMESPACE = "Namespace"
    """`cluster` (may be empty where the kind says so), `namespace`, `name`."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """The full name of a resource. Parts that the kind's scope does not use are empty."""

    kind: str
    cluster: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """What follows the kind in URLs and messages: `web`, `dc1/node1`, `dc1/shop/web-1`, `-/shop/allow-web`."""
        if self.namespace:
            return f"{self.cluster or NO_CLUSTER}/{self.namespace}/{self.name}"
        return f"{self.cluster}/{self.name}" if self.cluster else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Names, labels, and what the control plane says about an object."""

    name: str
    cluster: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    """Revision of the federation at which this object last changed; 0 before it is stored. Compare-and-set uses it."""
    generation: int = 0
    """Counts the changes of `spec`."""
    created: str = ""
    """RFC 3339, UTC; set by the control plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One observed fact about an object."""

    type: str
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str = ""
    message: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the control plane and the nodes observed. Kinds with more to say have their own status class."""

    conditions: tuple[Condition, ...] = ()


S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[S, T]):
    """One document: what REST, the command line and the wire carry."""

    kind: str
    metadata: Metadata
    spec: S
    status: T

    @property
    def key(self) -> ObjectKey:
        """The full name."""
        meta = self.metadata
        return ObjectKey(self.kind, meta.cluster, meta.namespace, meta.name)


AnyResource = Resource[Any, Any]
