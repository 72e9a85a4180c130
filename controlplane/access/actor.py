"""Who does something: a name for the log, what they may do, and where the request came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.access.places import places_of
from federation.access.rights import OWNER, ROLES, Right, roles_with
from federation.access.scopes import EVERYWHERE, Grant, Place
from federation.audit import Deed
from federation.errors import Forbidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """`name`: a user's, or what a program calls itself. What no grant allows is denied."""

    name: str
    grants: tuple[Grant, ...] = ()
    address: str = ""
    """Where the request came from; empty: from this process."""
    request: str = ""
    """The request's id."""
    origin: str = ""
    """Of who comes by a token: whoever made it, or the one that made it, and so on."""

    @property
    def person(self) -> str:
        """One and the same, by however many tokens."""
        return self.origin or self.name

    def has(self, right: Right) -> bool:
        """Whether something may be done anywhere at all."""
        return any(right in ROLES[grant.role] for grant in self.grants)

    def is_unbounded(self, right: Right) -> bool:
        """Whether it may be done everywhere."""
        return any(grant.is_unbounded(right) for grant in self.grants)

    def may(self, right: Right, place: Place) -> bool:
        """Whether something may be done at a place."""
        return any(grant.allows(right, place) for grant in self.grants)

    def sees(self, document: Mapping[str, Any]) -> bool:
        """Whether a document, as the codec writes it, may be read."""
        return self.is_unbounded(Right.READ) or all(self.may(Right.READ, p) for p in places_of(document))

    def must(self, right: Right, place: Place = EVERYWHERE, what: str = "") -> None:
        """Raises Forbidden unless something may be done at a place."""
        if not self.may(right, place):
            raise self.refused(right, what)

    def must_write(self, right: Right, document: Mapping[str, Any], what: str) -> None:
        """Raises Forbidden unless a document may be written."""
        if not self.is_unbounded(right):
            for place in places_of(document):
                self.must(right, place, what)

    def refused(self, right: Right, what: str = "") -> Forbidden:
        """The error that says what is lacking."""
        where = "here" if self.has(right) else "at all"
        roles = " or ".join(roles_with(right))
        return Forbidden(
            f"{self.name} may not {VERBS[right]}{f' ({what})' if what else f' {where}'}",
            hint=f"it takes the role {roles} for this place; causeway whoami shows yours, an owner gives it",
        )

    def did(self, at: str, action: str, subject: str, before: str = "", after: str = "") -> Deed:
        """For the audit log."""
        return Deed(
            at=at, actor=self.name, address=self.address, request=self.request, action=action, subject=subject,
            before=before, after=after,
        )  # fmt: skip


VERBS = {
    Right.READ: "read",
    Right.AUDIT: "read the audit log",
    Right.POLICY: "write policy",
    Right.NETWORK: "change the network",
    Right.ACCESS: "give rights",
    Right.AUTHORITY: "change the certificate authority",
}


def inside(name: str) -> Actor:
    """This process, or who has its database in hand: may do everything."""
    return Actor(name=name, grants=(Grant(OWNER),))


def joiner(cluster: str, node: str, address: str) -> Actor:
    """Who joins: it may what its token lets it, and nothing else."""
    return Actor(name=f"join {cluster}/{node}", address=address)


def node_actor(cluster: str, node: str) -> Actor:
    """A node, about itself."""
    return Actor(name=f"node {cluster}/{node}")


PROCESS = inside("causeway serve")
