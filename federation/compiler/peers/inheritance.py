"""Whose labels change when those of a cluster, a namespace or a service account do."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from federation.compiler.change import Change
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy.world import Labels

T = TypeVar("T")
Giver = tuple[str, ...]
"""(cluster), (cluster, namespace) or (cluster, namespace, account)."""


def givers(own: Labels) -> tuple[Giver, ...]:
    """Of whom an end with these labels inherits."""
    cluster, namespace = own.get(CLUSTER_LABEL, ""), own.get(NAMESPACE_LABEL, "")
    account = own.get(SERVICE_ACCOUNT_LABEL, "")
    return ((cluster,), (cluster, namespace), (cluster, namespace, account))


def changed_givers(change: Change) -> Iterator[Giver]:
    """Whose labels a change gives anew."""
    yield from ((cluster,) for cluster in change.cluster_labels)
    yield from change.namespace_labels
    yield from change.account_labels


class Heirs:
    """Who inherits of whom."""

    def __init__(self) -> None:
        self._of: dict[Giver, dict[object, None]] = {}

    def enter(self, heir: object, own: Labels) -> None:
        """Add one."""
        for giver in givers(own):
            self._of.setdefault(giver, {})[heir] = None

    def leave(self, heir: object, own: Labels) -> None:
        """Remove one."""
        for giver in givers(own):
            del self._of[giver][heir]
            if not self._of[giver]:
                del self._of[giver]

    def of(self, changed: Iterable[Giver]) -> set[object]:
        """All that inherit of any of these."""
        return {heir for giver in changed for heir in self._of.get(giver, ())}
