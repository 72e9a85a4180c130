"""Who is asking: looked up in the database with every request, in memory while it is away; and API tokens, and what the audit log tells."""

from collections.abc import Sequence
from datetime import timedelta

from controlplane.access.actor import PROCESS, Actor
from controlplane.access.bindings import Bindings
from controlplane.access.holders import Holder, Holders
from controlplane.access.oidc import Oidc, OidcSettings
from controlplane.clock import Clock
from controlplane.feed import Feed
from controlplane.intent import NodeSession
from controlplane.store import enrolment
from controlplane.store.access import audit, tokens
from controlplane.store.access.audit import AuditQuery
from controlplane.store.access.tokens import ApiToken
from controlplane.store.database import Database
from federation.access.rights import OWNER
from federation.access.scopes import Grant
from federation.audit import Entry
from federation.errors import Forbidden, NotFound, Unauthenticated, Unavailable

LOOK_SECONDS = 3.0
"""How long a reader waits for the database before it is told what this replica remembers."""
NEW_TOKEN = "an owner makes a token: causeway apitoken create"


class Access:
    """Of one replica."""

    def __init__(
        self, database: Database, feed: Feed, clock: Clock, bindings: Bindings, oidc: OidcSettings | None
    ) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._bindings = bindings
        self._oidc = Oidc(oidc, clock) if oidc else None
        self._holders = Holders()

    async def node_session(self, credential: str) -> NodeSession:
        """Who an agent is. Raises Unauthenticated, or Forbidden for a user's token."""
        holder = await self._holder(credential)
        if not isinstance(holder, NodeSession):
            raise Forbidden("this is a user's token; agents use the credential that joining gave them")
        return holder

    async def actor_of(self, credential: str) -> Actor:
        """Who a user is, and what they may. Raises Unauthenticated, Forbidden for a node's credential, Unavailable."""
        if credential.count(".") == 2:
            if self._oidc is None:
                hint = "start it with --oidc-issuer, or use an API token"
                raise Unauthenticated("this control plane knows no identity provider", hint=hint)
            person = await self._oidc.verify(credential)
            grants = self._bindings.grants_of(person.name, person.groups)
            return Actor(name=f"oidc:{person.name}", grants=grants)
        holder = await self._holder(credential)
        if isinstance(holder, NodeSession):
            raise Forbidden("a node's credential does not open the users' API")
        if holder.has_expired(self._clock.now()):
            raise Unauthenticated(f"the API token {holder.id} expired at {holder.expires}", hint=NEW_TOKEN)
        return Actor(name=holder.name, grants=holder.grants, origin=holder.origin)

    async def create_token(
        self, name: str, *, grants: Sequence[Grant] = (Grant(OWNER),), ttl_seconds: int | None = None, actor: Actor = PROCESS
    ) -> ApiToken:  # fmt: skip
        """A user's token, which may do nothing that its maker may not; its text is shown this once. Raises Forbidden, InvalidInput."""
        tokens.check(name, grants, ttl_seconds)
        for grant in grants:
            if not grant.is_within(actor.grants):
                raise Forbidden(
                    f"{actor.name} may not give the role {grant.role} there",
                    hint="you can give what you have",
                )
        now = self._clock.now()
        expires = "" if ttl_seconds is None else (now + timedelta(seconds=ttl_seconds)).isoformat()
        asked = ApiToken(
            id="", name=name, grants=tuple(grants), created=now.isoformat(), created_by=actor.name, expires=expires, origin=actor.person
        )  # fmt: skip
        async with self._database.transaction() as connection:
            token = await tokens.store(connection, asked)
            deed = actor.did(now.isoformat(), "apitoken.create", f"{token.id} {name}")
            await audit.append(connection, [deed])
        return token

    async def list_tokens(self, actor: Actor = PROCESS) -> tuple[ApiToken, ...]:
        """Those that may do nothing that the actor may not, without their secrets."""
        async with self._database.reading() as connection:
            found = await tokens.standing(connection)
        return tuple(token for token in found if tokens.is_within(token, actor.grants))

    async def revoke_token(self, token_id: str, *, actor: Actor) -> None:
        """Make a token useless, at once on every replica that reaches the database. Raises NotFound."""
        async with self._database.transaction() as connection:
            found = [token for token in await tokens.standing(connection) if token.id == token_id]
            if not found or not tokens.is_within(found[0], actor.grants):
                raise NotFound(f"API token {token_id} does not exist")
            await tokens.drop(connection, token_id)
            deed = actor.did(self._clock.now().isoformat(), "apitoken.revoke", f"{token_id} {found[0].name}")
            await audit.append(connection, [deed])

    async def log(self, query: AuditQuery) -> tuple[tuple[Entry, ...], int, str]:
        """(a page of the log, how many entries were ever written, the newest hash)."""
        async with self._database.reading() as connection:
            count, newest = await audit.head(connection)
            return tuple(await audit.entries(connection, query)), count, newest

    def is_cheap(self, credential: str) -> bool:
        """Whether nobody has to ask the database for the first time: it was good when it was shown last, or is a token that says all itself."""
        return credential.count(".") == 2 or self._holders.find(credential) is not None

    async def _holder(self, credential: str) -> Holder:
        known = self._holders.find(credential)
        if known and self._feed.stale_seconds is not None:
            return known
        try:
            async with self._database.reading(LOOK_SECONDS) as connection:
                found = await enrolment.node_of(connection, credential) or await tokens.find(
                    connection, credential
                )
        except Unavailable as error:
            self._feed.lose(error)
            if known is None:
                raise Unavailable(
                    "the database does not answer, and this credential was not seen before"
                ) from error
            return known
        if found is None:
            self._holders.forget(credential)
            raise Unauthenticated("the credential is unknown", hint=NEW_TOKEN)
        self._holders.keep(credential, found)
        return found
