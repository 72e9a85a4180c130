"""Requests that may be sent again: what became of one is kept in its own transaction, so whoever did not hear the answer gets it once more.

As draft-ietf-httpapi-idempotency-key-header has it: a key is its principal's own, and belongs to one request.
"""

import json
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.intent import Applied, Outcome, RequestKey
from controlplane.store import queries
from controlplane.store import tables as t
from controlplane.store.unit_of_work import UnitOfWork
from federation.errors import Conflict

KEPT = timedelta(hours=24)


async def replayed(connection: AsyncConnection, principal: str, request: RequestKey) -> Applied | None:
    """What became of it before, its objects as they stand now; None: it is new. Raises Conflict for a key that was another request's."""
    c = t.requests.c
    mine = and_(c.principal == principal, c.key == request.key)
    row = (await connection.execute(select(c.digest, c.revision, c.outcomes).where(mine))).first()
    if row is None:
        return None
    if row.digest != request.digest:
        raise Conflict(
            f"the idempotency key {request.key} belongs to another request", hint="give every request its own"
        )
    outcomes = []
    for kind, path, result in json.loads(row.outcomes):
        key = queries.key_of_path(kind, path)
        outcomes.append(Outcome(key=key, result=result, resource=await queries.find(connection, key)))
    return Applied(revision=row.revision, outcomes=tuple(outcomes))


async def remember(work: UnitOfWork, request: RequestKey, applied: Applied) -> None:
    """Keep what became of a request, with its effects."""
    outcomes = json.dumps(
        [[o.key.kind, o.key.path, o.result] for o in applied.outcomes], separators=(",", ":")
    )
    row = {"principal": work.actor.name, "key": request.key, "digest": request.digest, "at": work.now}
    await work.connection.execute(
        insert(t.requests).values(**row, revision=applied.revision, outcomes=outcomes)
    )


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Drop what nobody sends again any more."""
    await connection.execute(delete(t.requests).where(t.requests.c.at < (now - KEPT).isoformat()))
