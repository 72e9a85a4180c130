"""The control plane's commands and queries: the seam between REST (or a test, or the lab) and the store.

`controlplane.service.ControlPlane` implements all of it. Every command is one transaction, gets one revision, and is in
the change feed before it returns.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol

from controlplane.access.actor import Actor
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource, ObjectKey


class Verb(StrEnum):
    """What a change does."""

    CREATE = "create"
    """Refused (AlreadyExists) when the object is there."""
    REPLACE = "replace"
    """Refused (NotFound) when it is not there."""
    APPLY = "apply"
    """Creates or replaces."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one object. `if_revision`: refused (StaleRevision) unless the object stands at that revision."""

    verb: Verb
    key: ObjectKey
    resource: AnyResource | None = None
    """None for DELETE."""
    if_revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one change: created, configured, unchanged or deleted; the resource as it stands now."""

    key: ObjectKey
    result: str
    resource: AnyResource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """`revision` is the federation's after the transaction (unchanged when nothing changed, or on a dry run)."""

    revision: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """`key`: the client's, 1-200 characters; `digest`: of what it asked, in hex."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """`label_selector` is Causeway's selector language; `field_selector` is `metadata.name=x,spec.node=y` (=, ==, !=)."""

    kind: str
    cluster: str = ""
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    limit: int = 500
    continue_after: str = ""
    """Opaque; from `Page.continue_after`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list, read at `revision`."""

    documents: tuple[dict[str, Any], ...]
    """As `federation.resources.codec.encode` gives them; shared, never to be changed."""
    texts: tuple[bytes, ...]
    """Their JSON."""
    revision: int
    continue_after: str = ""
    """Empty on the last page."""

    @property
    def resources(self) -> tuple[AnyResource, ...]:
        """Decoded."""
        return tuple(decode(document, is_trusted=True) for document in self.documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a node says when it enrols. `token` is `id.secret`."""

    token: str
    cluster: str
    node: str
    os: str
    addresses: tuple[IPv4Address, ...]
    pod_prefixes: tuple[IPv4Network, ...]
    source: str = ""
    """The address that the request came from; empty: not known."""
    role: str = "node"
    """node, or relay: `node` is the relay's name then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSession:
    """Who an agent is, by its certificate, or by its credential where there is no TLS."""

    cluster: str
    node: str
    serial: str = ""
    """Of the certificate; empty: it has none."""
    enrolment: str = ""
    """Which enrolment of the node the certificate belongs to."""
    until: datetime | None = None
    """When the certificate ends."""
    relay: str = ""
    """The relay that speaks: on behalf of the node, or for itself where `node` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBounds:
    """What a join token is good for beside its cluster. Empty: anything."""

    role: str = "node"
    """node or relay."""
    os: str = ""
    prefix: str = ""
    """Where the request has to come from."""
    node: str = ""
    """The name that the node has to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """Somebody joined with a token."""

    cluster: str
    node: str
    source: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """`text` (id.secret) is there only when it was just made; only its hash is stored."""

    id: str
    cluster: str
    expires: str
    uses_left: int
    text: str = ""
    bounds: TokenBounds = TokenBounds()
    created: str = ""
    created_by: str = ""
    used: tuple[TokenUse, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What an agent observed. `faults`: (key, reason, message) of what its kernel does not carry out."""

    revision: int
    faults: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far a revision has come. `milliseconds`: from its commit to the last node's report (to now, while not complete)."""

    revision: int
    enforced: tuple[str, ...]
    """cluster/node."""
    behind: tuple[tuple[str, str], ...]
    """(cluster/node, why)."""
    milliseconds: float

    @property
    def is_complete(self) -> bool:
        """Every node enforces the revision without a fault."""
        return not self.behind


class Intent(Protocol):
    """What users do."""

    async def get(self, key: ObjectKey) -> AnyResource:
        """One resource. Raises NotFound."""
        ...

    async def list(self, query: ListQuery) -> Page:
        """A page of a list."""
        ...

    async def change(
        self,
        changes: Sequence[Change],
        *,
        actor: Actor,
        is_dry_run: bool = False,
        request: "RequestKey | None" = None,
    ) -> Applied:
        """All changes in one transaction, or none. A `request` that was carried out before is not again: its outcome is given once more."""
        ...

    async def rule_counts(self, kind: str, path: str) -> "tuple[tuple[RuleCount, ...], int]":
        """What nodes have counted of a policy's rules: (sums by rule, how many nodes told any). Raises NotFound or InvalidInput."""
        ...

    def watch(self, kind: str, since: int | None) -> AsyncIterator[dict[str, Any]]:
        """Events {"type": ADDED|MODIFIED|DELETED|BOOKMARK, "object": document}; without `since`, what stands comes first as ADDED."""
        ...

    async def rollout(self, revision: int, wait_seconds: float) -> Rollout:
        """Returns when the rollout is complete or the time is over."""
        ...


class Enrolment(Protocol):
    """How nodes get in. Tokens and credentials are hashed at rest. Users: `controlplane.access.credentials`."""

    async def create_join_token(self, cluster: str, ttl_seconds: int, uses: int, *, actor: Actor, bounds: TokenBounds = TokenBounds()) -> JoinToken:  # fmt: skip
        """A token; its text is shown this once."""
        ...

    async def list_join_tokens(self) -> tuple[JoinToken, ...]:
        """All, without their secrets."""
        ...

    async def revoke_join_token(self, token_id: str, *, actor: Actor) -> None:
        """Make a token useless. Raises NotFound."""
        ...

    async def join(self, request: JoinRequest) -> str:
        """The node's credential `id.secret`. Raises Unauthenticated (unknown, used, expired), Forbidden (token of another cluster),
        Overlap (prefix or address taken), Conflict (the name is a live node's)."""
        ...


class AgentService(Protocol):
    """What agents do, each for its own node only."""

    def stream(
        self, session: NodeSession, since: int | None, *, is_packed: bool = False
    ) -> AsyncIterator[bytes]:
        """Encoded lines of `federation.wire`, ready to be written; packed: as one zlib stream."""
        ...

    async def reach(self, revision: int) -> None:
        """Know what an agent knows already. Raises Unavailable."""
        ...

    async def publish_key(self, session: NodeSession, public_key: str, listen_port: int) -> None:
        """Store the node's WireGuard facts. Raises Conflict for another node's key."""
        ...

    async def report(self, session: NodeSession, report: NodeReport) -> None:
        """Keep what the node's kernel enforces."""
        ...

    async def count(self, session: NodeSession, counts: "Sequence[RuleCount]") -> None:
        """Keep what the node's kernel has counted of rules."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """What was counted of one rule, ever: by one node, or by all."""

    policy: ObjectKey
    section: str
    """The user's list (ingress, egressDeny …)."""
    rule: int
    """Its place there."""
    packets: int
    bytes: int
