"""Engines and transactions: SQLite (one file, WAL) and PostgreSQL from the same code."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

import migrations
from controlplane.store import tables as t
from federation.errors import Unavailable


class Database:
    """One engine and its transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(url, pool_pre_ping=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin)
        self._reader = self.engine.execution_options(is_reading=True)

    async def upgrade(self) -> None:
        """Bring the schema to this release's. Raises Unavailable when the database cannot be reached."""
        async with self.transaction() as connection:
            await connection.run_sync(_upgrade)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One consistent view of what was committed; waits for no writer. Raises Unavailable."""
        return self._begun(self._reader)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Everything inside happens, or nothing does. Raises Unavailable when the database is away."""
        return self._begun(self.engine)

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with engine.begin() as connection:
                yield connection
        except (OperationalError, ConnectionError, OSError) as error:
            raise Unavailable(
                f"the database does not answer: {error.__class__.__name__}: {str(error).splitlines()[0]}",
                hint="check that it runs and that --database-url names it; agents go on enforcing meanwhile",
            ) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable("the connection to the database was lost", hint="try again") from error
            raise

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()


async def next_number(connection: AsyncConnection, counter: str) -> int:
    """Count up. The row stays locked until the transaction ends: numbers become visible in order."""
    statement = update(t.counters).where(t.counters.c.name == counter).values(value=t.counters.c.value + 1)
    return int((await connection.execute(statement.returning(t.counters.c.value))).scalar_one())


async def current_revision(connection: AsyncConnection) -> int:
    """The newest visible revision."""
    statement = select(t.counters.c.value).where(t.counters.c.name == "revision")
    return int((await connection.execute(statement)).scalar_one())


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, with no file: the migrations are a package of the distribution."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(8271)"))
    command.upgrade(alembic_config(connection), "head")


def _configure_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes its lock at once (a lock that is taken later may be refused); a reader takes none."""
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
