"""Whose labels change when those of a cluster, a namespace, a service account or a profile do."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from federation.compiler.change import Change
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy.parties import OF_ACCOUNT, OF_NAMESPACE
from federation.policy.world import Labels

T = TypeVar("T")
Giver = tuple[str, ...]
"""(cluster), (cluster, namespace), (cluster, namespace, account); of a host's profile, of whichever cluster, (PROFILE, name, "", "")."""
PROFILE = "profile"


def givers(own: Labels, profiles: Iterable[str] = ()) -> tuple[Giver, ...]:
    """Of whom an end with these labels inherits, that names these profiles."""
    cluster, namespace = own.get(CLUSTER_LABEL, ""), own.get(NAMESPACE_LABEL, "")
    account = own.get(SERVICE_ACCOUNT_LABEL, "")
    found: tuple[Giver, ...] = ((cluster,), (cluster, namespace), (cluster, namespace, account))
    return (*found, *map(_profile, profiles)) if profiles else found


class Heirs:
    """Who inherits of whom."""

    def __init__(self) -> None:
        self._of: dict[Giver, dict[object, None]] = {}
        self._clusters: dict[str, None] = {}
        """All that ever had an heir."""

    def enter(self, heir: object, own: Labels, profiles: Iterable[str] = ()) -> None:
        """Add one. `profiles` are those that its namespace and its service account do not give."""
        self._clusters[own.get(CLUSTER_LABEL, "")] = None
        for giver in givers(own, profiles):
            self._of.setdefault(giver, {})[heir] = None

    def leave(self, heir: object, own: Labels, profiles: Iterable[str] = ()) -> None:
        """Remove one."""
        for giver in givers(own, profiles):
            del self._of[giver][heir]
            if not self._of[giver]:
                del self._of[giver]

    def of(self, changed: Iterable[Giver]) -> set[object]:
        """All that inherit of any of these."""
        return {heir for giver in changed for heir in self._of.get(giver, ())}

    def changed_givers(self, change: Change) -> Iterator[Giver]:
        """Whose labels a change gives anew."""
        yield from ((cluster,) for cluster in change.cluster_labels)
        yield from change.namespace_labels
        yield from change.account_labels
        yield from self.givers_of_profiles(change.profile_labels)

    def givers_of_profiles(self, places: Iterable[tuple[str, str]]) -> Iterator[Giver]:
        """By whom those are found that belong to profiles, which go by (cluster, name): a namespace's and a service account's belong
        to who lives there."""
        for home, name in places:
            yield _profile(name)
            whose, _, rest = name.partition(".")
            for cluster in [home] if home else self._clusters:
                if whose == OF_NAMESPACE:
                    yield cluster, rest
                elif whose == OF_ACCOUNT:
                    dots = (n for n, letter in enumerate(rest) if letter == ".")  # either name may hold one
                    yield from ((cluster, rest[:n], rest[n + 1 :]) for n in dots)


def _profile(name: str) -> Giver:
    return PROFILE, name, "", ""
