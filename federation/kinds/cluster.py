"""Cluster: a member of the federation, and the prefixes that its endpoints live in."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Condition, Resource, Scope

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """`prefixes`: where its endpoints' addresses come from; canonical (no host bits), disjoint, and disjoint from every
    other cluster's (the store refuses an overlap and names the other cluster)."""

    prefixes: tuple[Prefix, ...]
    location: str = ""
    """Free text for people: "Frankfurt, rack 12", "eu-central-1"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """Who let it in, where that takes two people."""

    conditions: tuple[Condition, ...] = ()
    asked_by: str = ""
    """Who wrote its prefixes; empty: nobody has to approve them."""
    approved_by: str = ""
    """Another person; empty: it waits."""


Cluster = Resource[ClusterSpec, ClusterStatus]


def is_waiting(cluster: Cluster) -> bool:
    """Whether a second person has to approve it, and has not."""
    return bool(cluster.status.asked_by) and not cluster.status.approved_by


def check(cluster: Cluster) -> Iterable[Fault]:
    """Prefixes of one cluster must not overlap each other."""
    prefixes = cluster.spec.prefixes
    for index, prefix in enumerate(prefixes):
        for earlier in prefixes[:index]:
            if prefix.version == earlier.version and prefix.overlaps(earlier):
                yield Fault(f"/spec/prefixes/{index}", f"{prefix} overlaps {earlier} of the same cluster")


KIND = Kind(
    name="Cluster",
    plural="clusters",
    short_names=("cl",),
    scope=Scope.FEDERATION,
    spec=ClusterSpec,
    status=ClusterStatus,
    right=Right.NETWORK,
    check=check,
    columns=(
        Column(title="PREFIXES", value=lambda r: ",".join(map(str, r.spec.prefixes))),
        Column(
            title="APPROVED", value=lambda r: "waits" if is_waiting(r) else r.status.approved_by, wide=True
        ),
        Column(title="LOCATION", value=lambda r: r.spec.location),
    ),
)
