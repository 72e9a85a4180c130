"""Project: a tenant's part of the federation. Who has a role in projects only sees nothing outside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Resource, Scope, Status
from federation.rules.names import name_faults


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSpec:
    """The `namespaces` of these names in these `clusters`. Left out: of every cluster; whole clusters."""

    clusters: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] | None = None


Project = Resource[ProjectSpec, Status]


def names_faults(pointer: str, names: Sequence[str] | None) -> Iterable[Fault]:
    """What is wrong with a list of names that bounds something."""
    if names is None:
        return
    if not names:
        yield Fault(pointer, "an empty list bounds to nothing: leave it out for all")
    for index, name in enumerate(names):
        yield from name_faults(f"{pointer}/{index}", name)


def check(project: Project) -> Iterable[Fault]:
    """It bounds something."""
    spec = project.spec
    if spec.clusters is None and spec.namespaces is None:
        yield Fault("/spec", "name clusters, or namespaces, or both: a project is a part")
    yield from names_faults("/spec/clusters", spec.clusters)
    yield from names_faults("/spec/namespaces", spec.namespaces)


KIND = Kind(
    name="Project",
    plural="projects",
    short_names=("proj",),
    scope=Scope.FEDERATION,
    spec=ProjectSpec,
    right=Right.ACCESS,
    check=check,
    columns=(
        Column(title="CLUSTERS", value=lambda r: ",".join(r.spec.clusters or ()) or "all"),
        Column(title="NAMESPACES", value=lambda r: ",".join(r.spec.namespaces or ()) or "all"),
    ),
)
