"""RoleBinding: people and groups, as the identity provider names them, given a role somewhere."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.access.project import names_faults
from federation.access.rights import ROLES, Right
from federation.errors import Fault, shown
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Resource, Scope, Status

SUBJECTS = ("User", "Group")
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who. `kind`: User or Group; `name`: as the token of the identity provider says it."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBindingSpec:
    """`role`, to `subjects`, in these `clusters` and `namespaces`, or in what these `projects` hold. What is left out bounds nothing.
    `tiers`: which policies may be written."""

    role: str
    subjects: tuple[Subject, ...]
    clusters: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None


RoleBinding = Resource[RoleBindingSpec, Status]


def check(binding: RoleBinding) -> Iterable[Fault]:
    """A role that there is, somebody, and bounds that hold something."""
    spec = binding.spec
    if spec.role not in ROLES:
        yield Fault("/spec/role", f"{shown(spec.role)} is not one of {', '.join(ROLES)}")
    if not spec.subjects:
        yield Fault("/spec/subjects", "nobody is named")
    for index, subject in enumerate(spec.subjects):
        if subject.kind not in SUBJECTS:
            yield Fault(
                f"/spec/subjects/{index}/kind", f"{shown(subject.kind)} is not one of {', '.join(SUBJECTS)}"
            )
        if not 1 <= len(subject.name) <= MAX_NAME or not subject.name.isprintable():
            yield Fault(f"/spec/subjects/{index}/name", f"1-{MAX_NAME} printable characters are needed")
    for name in ("clusters", "namespaces", "projects", "tiers"):
        yield from names_faults(f"/spec/{name}", getattr(spec, name))
    if spec.projects is not None and (spec.clusters is not None or spec.namespaces is not None):
        yield Fault("/spec/projects", "name projects, or clusters and namespaces, not both")
    if spec.tiers is not None and spec.role in ROLES and Right.POLICY not in ROLES[spec.role]:
        yield Fault("/spec/tiers", f"a {spec.role} writes no policies: tiers bound nothing")


def _where(binding: RoleBinding) -> str:
    spec = binding.spec
    bounds = ((name, getattr(spec, name)) for name in ("clusters", "namespaces", "projects", "tiers"))
    return "; ".join(f"{name} {','.join(listed)}" for name, listed in bounds if listed) or "everywhere"


KIND = Kind(
    name="RoleBinding",
    plural="rolebindings",
    short_names=("rb",),
    scope=Scope.FEDERATION,
    spec=RoleBindingSpec,
    right=Right.ACCESS,
    check=check,
    columns=(
        Column(title="ROLE", value=lambda r: r.spec.role),
        Column(title="WHERE", value=_where),
        Column(title="WHO", value=lambda r: ", ".join(f"{s.kind}:{s.name}" for s in r.spec.subjects)),
    ),
)
