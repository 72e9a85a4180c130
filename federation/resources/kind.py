"""What the rest of the system must know of a kind. A new kind is one file in `federation/kinds/` and one line in its registry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.metadata import API_VERSION, AnyResource, Scope, Status


def no_faults(_resource: AnyResource) -> Iterable[Fault]:
    """The check of a kind with nothing to check beyond its types."""
    return ()


def unchanged(resource: AnyResource) -> AnyResource:
    """The defaulting of a kind with nothing to infer."""
    return resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of `causeway get`. `wide` ones show with `-o wide` only."""

    title: str
    value: Callable[[AnyResource], str]
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A registered kind.

    `spec` and `status` are frozen dataclasses: the codec and the JSON schema are derived from them. `check` gives every
    fault that types cannot see (pointers from the document's root, such as `/spec/selector`); `complete` fills in at the
    door what the user left to be inferred (such as a policy's `types`), and runs after `check` found nothing.
    """

    name: str
    plural: str
    """Lower case, as in URLs."""
    short_names: tuple[str, ...] = ()
    scope: Scope
    spec: type[Any]
    right: Right
    """What it takes to write one."""
    status: type[Any] = Status
    check: Callable[[AnyResource], Iterable[Fault]] = no_faults
    complete: Callable[[AnyResource], AnyResource] = unchanged
    columns: tuple[Column, ...] = ()
    accepted_versions: tuple[str, ...] = (API_VERSION,)
    foreign_name: str = ""
    """What documents of other APIs call it, where that is not `name`: ours is unique, theirs need not be."""
    is_only_labels: bool = False
    """Of another API's document nothing but the metadata counts."""
    has_several_specs: bool = False
    """Another API's document may have `specs`, a list, beside or instead of `spec`."""
    is_read_only: bool = False
    """Written by the control plane only (Identity)."""
    is_cluster_optional: bool = False
    """A kind that may leave out the cluster: it then means every cluster."""
