"""API tokens of users and programs: only their hashes are stored, with what they are good for."""

import hmac
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import tables as t
from controlplane.store.enrolment import digest, new_secret
from federation.access.rights import OWNER
from federation.access.scopes import Grant, bounds_from, bounds_told
from federation.errors import InvalidInput, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
"""Never as `oidc:` begins, nor with a space, as nodes' names in the log have."""
MOST_SECONDS = 366 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """`text` (id.secret) is there only when it was just made."""

    id: str
    name: str
    """What the log calls its user."""
    grants: tuple[Grant, ...]
    created: str
    created_by: str
    origin: str = ""
    """The person behind whoever made it; empty: nobody knows."""
    expires: str = ""
    """RFC 3339, UTC; empty: never."""
    text: str = ""

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return bool(self.expires) and datetime.fromisoformat(self.expires) <= now


def check(name: str, grants: Sequence[Grant], ttl_seconds: int | None) -> None:
    """Raises InvalidInput for a token that nobody should have."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{shown(name)} is not a token's name", hint="letters, digits, . _ @ - and 100 at most"
        )
    if not grants:
        raise InvalidInput("a token without a role is good for nothing")
    if ttl_seconds is not None and not 1 <= ttl_seconds <= MOST_SECONDS:
        raise InvalidInput(f"an API token lives 1 s to {MOST_SECONDS // 86400} days")


def is_within(token: ApiToken, grants: Iterable[Grant]) -> bool:
    """Whether a token may do nothing that these grants do not allow."""
    held = tuple(grants)
    return all(grant.is_within(held) for grant in token.grants)


async def store(connection: AsyncConnection, asked: ApiToken) -> ApiToken:
    """A new one like the one asked for; its text is shown this once."""
    identifier, text, hashed = new_secret()
    token = replace(asked, id=identifier, text=text)
    grants = [{"role": grant.role, **bounds_told(grant.bounds)} for grant in token.grants]
    await connection.execute(
        insert(t.api_tokens).values(
            id=token.id,
            digest=hashed,
            name=token.name,
            grants=json.dumps(grants, separators=(",", ":")),
            created=token.created,
            created_by=token.created_by,
            origin=token.origin,
            expires=token.expires or None,
        )
    )
    return token


async def find(connection: AsyncConnection, text: str) -> ApiToken | None:
    """The token of a text, also an expired one; None: there is none such."""
    identifier, _, secret = text.partition(".")
    row = (await connection.execute(select(t.api_tokens).where(t.api_tokens.c.id == identifier))).first()
    if row is not None:
        return _token(row) if hmac.compare_digest(row.digest, digest(secret)) else None
    c = t.credentials.c  # of a release that knew no roles: its users could do everything
    old = (
        await connection.execute(select(t.credentials).where(c.id == identifier, c.role == "user"))
    ).first()
    if old is None or not hmac.compare_digest(old.digest, digest(secret)):
        return None
    return ApiToken(id=old.id, name=old.name, grants=(Grant(OWNER),), created="", created_by="")


async def standing(connection: AsyncConnection) -> tuple[ApiToken, ...]:
    """All, without their secrets; the oldest first."""
    rows = await connection.execute(select(t.api_tokens).order_by(t.api_tokens.c.created, t.api_tokens.c.id))
    c = t.credentials.c
    old = await connection.execute(select(c.id, c.name).where(c.role == "user").order_by(c.id))
    before = (ApiToken(id=r.id, name=r.name, grants=(Grant(OWNER),), created="", created_by="") for r in old)
    return (*before, *map(_token, rows))


async def drop(connection: AsyncConnection, token_id: str) -> bool:
    """Whether there was one."""
    c = t.credentials.c
    gone = await connection.execute(delete(t.api_tokens).where(t.api_tokens.c.id == token_id))
    old = await connection.execute(delete(t.credentials).where(c.id == token_id, c.role == "user"))
    return gone.rowcount + old.rowcount > 0


async def forget_expired(connection: AsyncConnection, before: datetime) -> None:
    """Drop what expired long ago."""
    await connection.execute(delete(t.api_tokens).where(t.api_tokens.c.expires < before.isoformat()))


def _token(row: Any) -> ApiToken:
    grants: Iterable[dict[str, object]] = json.loads(row.grants)
    return ApiToken(
        id=row.id,
        name=row.name,
        grants=tuple(Grant(str(grant["role"]), bounds_from(grant)) for grant in grants),
        created=row.created,
        created_by=row.created_by,
        origin=row.origin,
        expires=row.expires or "",
    )
