"""What role bindings give to people and groups, as this replica knows them: also while the database is away."""

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.hub import Hub, Transaction
from federation.access.rights import ROLES
from federation.access.scopes import Bounds, Grant, bounds_from
from federation.resources.metadata import ObjectKey

KINDS = frozenset({"RoleBinding", "Project"})


class Bindings:
    """Of one hub; made out anew after a change of a binding or a project."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._by_subject: dict[tuple[str, str], list[Grant]] | None = None
        hub.takers.append(self._take)

    def grants_of(self, user: str, groups: Iterable[str]) -> tuple[Grant, ...]:
        """All that a user has, by name and by groups."""
        if self._by_subject is None:
            self._by_subject = self._made_out()
        subjects = [("User", user), *(("Group", group) for group in groups)]
        return tuple(dict.fromkeys(g for subject in subjects for g in self._by_subject.get(subject, ())))

    def _take(self, transaction: Transaction) -> None:
        if any(item.key.kind in KINDS for item in transaction.changes):
            self._by_subject = None

    def _made_out(self) -> dict[tuple[str, str], list[Grant]]:
        found: dict[tuple[str, str], list[Grant]] = {}
        for key in self._hub.sorted_keys("RoleBinding"):
            spec = (self._hub.objects[key].document or {})["spec"]
            if spec["role"] not in ROLES:  # of a newer release: not known here is not given here
                continue
            grants = [Grant(spec["role"], bounds) for bounds in self._bounds(spec)]
            for subject in spec["subjects"]:
                found.setdefault((subject["kind"], subject["name"]), []).extend(grants)
        return found

    def _bounds(self, spec: Mapping[str, Any]) -> list[Bounds]:
        """Of each project that stands, or of the binding itself: a project that is gone holds nothing."""
        projects = spec.get("projects")
        if projects is None:
            return [bounds_from(spec)]
        standing = (self._hub.objects.get(ObjectKey("Project", "", "", name)) for name in projects)
        tiers = {"tiers": spec.get("tiers")}
        return [
            bounds_from({**item.document["spec"], **tiers}) for item in standing if item and item.document
        ]
