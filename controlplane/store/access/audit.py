"""The audit log's rows: appended in the transaction that does the deed, so there is none without the other."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import tables as t
from federation.audit import Deed, Entry, chained

COUNTER = "audit"
FIELDS = ("at", "actor", "address", "request", "action", "subject", "before", "after")
LENGTHS = {"actor": 200, "address": 60, "request": 100, "action": 40, "subject": 900}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """A page of the log, the oldest first. Empty: any."""

    after: int = 0
    limit: int = 500
    actor: str = ""
    action: str = ""
    subject: str = ""
    """What subjects begin with: a kind, or a kind and a path."""
    since: str = ""
    """RFC 3339, UTC."""


async def append(connection: AsyncConnection, deeds: Sequence[Deed]) -> None:
    """Write what was done. The counter's row is locked until the transaction ends: the chain is one."""
    if not deeds:
        return
    c = t.counters.c
    raised = update(t.counters).where(c.name == COUNTER).values(value=c.value + len(deeds)).returning(c.value)
    newest = int((await connection.execute(raised)).scalar_one())
    before = newest - len(deeds)
    last = await connection.execute(select(t.audit.c.hash).where(t.audit.c.sequence == before))
    entries = chained(map(_fitting, deeds), before, str(last.scalar() or ""))
    await connection.execute(insert(t.audit), [_row(entry) for entry in entries])


async def head(connection: AsyncConnection) -> tuple[int, str]:
    """(how many entries were ever written, hash of the newest that is there)."""
    counted = select(t.counters.c.value).where(t.counters.c.name == COUNTER)
    newest = select(t.audit.c.hash).order_by(t.audit.c.sequence.desc()).limit(1)
    count, found = await connection.execute(counted), await connection.execute(newest)
    return int(count.scalar_one()), str(found.scalar() or "")


async def entries(connection: AsyncConnection, query: AuditQuery) -> list[Entry]:
    """A page."""
    c = t.audit.c
    wanted = select(t.audit).where(c.sequence > query.after).order_by(c.sequence).limit(query.limit)
    if query.actor:
        wanted = wanted.where(c.actor == query.actor)
    if query.action:
        wanted = wanted.where(c.action == query.action)
    if query.subject:
        wanted = wanted.where(c.subject.startswith(query.subject, autoescape=True))
    if query.since:
        wanted = wanted.where(c.at >= query.since)
    rows = await connection.execute(wanted)
    return [_entry(row) for row in rows]


def digest(document: str | None) -> str:
    """SHA-256 of a document as it is stored, hexadecimal; empty for none."""
    return hashlib.sha256(document.encode()).hexdigest() if document is not None else ""


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "hash": entry.hash,
        **dict(zip(FIELDS, astuple(entry.deed), strict=True)),
    }


def _entry(row: Any) -> Entry:
    return Entry(int(row.sequence), Deed(**{name: getattr(row, name) for name in FIELDS}), row.hash)


def _fitting(deed: Deed) -> Deed:
    """Cut to what its columns hold: what is hashed is what is kept. A NUL is no text of a database's."""
    values: Iterable[str] = astuple(deed)
    return Deed(
        **{
            name: value[: LENGTHS.get(name, 64)].replace("\0", "")
            for name, value in zip(FIELDS, values, strict=True)
        }
    )
