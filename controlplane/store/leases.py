"""What only one replica may do: it holds a lease, and each of its transactions proves that it still does.

The lease's time is by the database's clock (`controlplane.clock`), on SQLite by the machine's. Clocks that differ may end a lease early, which costs a change of holder, but never let two
holders write: a transaction takes the lease's row, and fails when the epoch there is not its own.
"""

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import tables as t
from federation.errors import Conflict

LIFE = timedelta(seconds=30)
FARTHEST = 10 * LIFE
"""An end beyond that was written by a clock that was wrong: nobody waits for it."""


async def take(connection: AsyncConnection, name: str, holder: str, now: datetime) -> int | None:
    """Take or renew a lease that a migration made: its epoch; None while another holds it."""
    c = t.leases.c
    row = (
        await connection.execute(select(c.holder, c.epoch, c.expires).where(c.name == name).with_for_update())
    ).one()
    expires = (now + LIFE).isoformat()
    if row.holder != holder and now < datetime.fromisoformat(row.expires) <= now + FARTHEST:
        return None
    epoch: int = row.epoch + (row.holder != holder)
    await connection.execute(
        update(t.leases).where(c.name == name).values(holder=holder, epoch=epoch, expires=expires)
    )
    return epoch


async def prove(connection: AsyncConnection, name: str, epoch: int) -> None:
    """Let nobody take the lease before this transaction ends. Raises Conflict when somebody has."""
    c = t.leases.c
    standing = (await connection.execute(select(c.epoch).where(c.name == name).with_for_update())).scalar()
    if standing != epoch:
        raise Conflict(f"the lease {name} has gone to another replica")


async def give_up(connection: AsyncConnection, name: str, epoch: int, now: datetime) -> None:
    """Let another take it at once."""
    c = t.leases.c
    await connection.execute(
        update(t.leases).where(c.name == name, c.epoch == epoch).values(expires=now.isoformat())
    )
