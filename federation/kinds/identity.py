"""Identity: the number of one set of security labels. Read only: the control plane allocates it."""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.access.rights import Right
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Resource, Scope, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySpec:
    """`number` (256 … 2^24-1; see `federation.identities`) stands for exactly `labels`, in every cluster."""

    number: int
    labels: Mapping[str, str]


Identity = Resource[IdentitySpec, Status]

KIND = Kind(
    name="Identity",
    plural="identities",
    short_names=("id",),
    scope=Scope.FEDERATION,
    spec=IdentitySpec,
    right=Right.NETWORK,
    is_read_only=True,
    columns=(
        Column(title="NUMBER", value=lambda r: str(r.spec.number)),
        Column(
            title="LABELS", value=lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.spec.labels.items()))
        ),
    ),
)
