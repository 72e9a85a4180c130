"""Rows of the certificate authority: authorities, and what they issued to nodes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import tables as t

LOCK = 8272
"""Of PostgreSQL's advisory locks: one replica at a time changes the authorities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRow:
    """An authority as it is stored."""

    id: str
    domain: str
    root: str
    intermediate: str
    sealed: str
    state: str
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate that a node was given."""

    serial: str
    cluster: str
    node: str
    enrolment: str
    authority: str
    key_hash: str
    not_after: str
    issued: str
    trust: str = ""


async def authorities(connection: AsyncConnection) -> tuple[AuthorityRow, ...]:
    """All, the oldest first."""
    c = t.authorities.c
    rows = await connection.execute(select(t.authorities).order_by(c.created, c.id))
    return tuple(AuthorityRow(**row._asdict()) for row in rows)


async def change_authorities(connection: AsyncConnection) -> tuple[AuthorityRow, ...]:
    """All, and nobody else changes them until this transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    return await authorities(connection)


async def add_authority(connection: AsyncConnection, row: AuthorityRow) -> None:
    """A new one."""
    names = AuthorityRow.__slots__
    await connection.execute(insert(t.authorities).values({name: getattr(row, name) for name in names}))


async def set_state(connection: AsyncConnection, authority: str, state: str) -> None:
    """Move one to another state."""
    c = t.authorities.c
    await connection.execute(update(t.authorities).where(c.id == authority).values(state=state))


async def drop_authority(connection: AsyncConnection, authority: str) -> None:
    """Trust it no more."""
    await connection.execute(delete(t.authorities).where(t.authorities.c.id == authority))


async def record(connection: AsyncConnection, row: CertificateRow) -> None:
    """Keep what was issued."""
    names = CertificateRow.__slots__
    await connection.execute(insert(t.certificates).values({name: getattr(row, name) for name in names}))


async def find_certificate(connection: AsyncConnection, serial: str) -> CertificateRow | None:
    """What was issued under a serial number."""
    row = (await connection.execute(select(t.certificates).where(t.certificates.c.serial == serial))).first()
    return CertificateRow(**row._asdict()) if row else None


async def newest_certificates(connection: AsyncConnection) -> dict[tuple[str, str, str], CertificateRow]:
    """By cluster, node and enrolment: what was issued last."""
    rows = await connection.execute(select(t.certificates).order_by(t.certificates.c.issued))
    return {(r.cluster, r.node, r.enrolment): CertificateRow(**r._asdict()) for r in rows}


async def note_trust(connection: AsyncConnection, serial: str, digest: str) -> None:
    """The holder of a certificate has this trust bundle now."""
    c = t.certificates.c
    await connection.execute(update(t.certificates).where(c.serial == serial).values(trust=digest))


async def forget_certificates(connection: AsyncConnection, now: datetime, grace: timedelta) -> None:
    """Drop what expired so long ago that nothing can be done with it."""
    before = (now - grace).isoformat()
    await connection.execute(delete(t.certificates).where(t.certificates.c.not_after < before))
