"""Link: two clusters joined."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Resource, Scope, Status

MODES = ("wireguard",)
"""Modes that this release carries out. `bgp`, `wireguard+bgp` and `direct` are refused by name until they are built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """Which clusters, and how."""

    clusters: tuple[str, ...]
    """Exactly two names."""
    mode: str = "wireguard"
    topology: str = "mesh"
    """`mesh`: node to node."""


Link = Resource[LinkSpec, Status]


def check(link: Link) -> Iterable[Fault]:
    """Two different clusters, a mode and a topology that exist."""
    if len(link.spec.clusters) != 2 or len(set(link.spec.clusters)) != 2:
        yield Fault("/spec/clusters", "a link joins exactly two different clusters")
    if link.spec.mode not in MODES:
        yield Fault(
            "/spec/mode",
            f"{link.spec.mode!r} is not available in this release; use one of: {', '.join(MODES)}",
        )
    if link.spec.topology != "mesh":
        yield Fault("/spec/topology", f"{link.spec.topology!r} is not available in this release; use: mesh")


KIND = Kind(
    name="Link",
    plural="links",
    short_names=("ln",),
    scope=Scope.FEDERATION,
    spec=LinkSpec,
    right=Right.NETWORK,
    check=check,
    columns=(
        Column(title="CLUSTERS", value=lambda r: " - ".join(r.spec.clusters)),
        Column(title="MODE", value=lambda r: r.spec.mode),
        Column(title="TOPOLOGY", value=lambda r: r.spec.topology),
    ),
)
