"""Engines and transactions: SQLite (one file, WAL) and PostgreSQL from the same code."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, event, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.store import schema
from controlplane.store import tables as t
from federation.errors import InvalidInput, Unavailable

T = TypeVar("T")
AWAY = (OperationalError, InterfaceError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, OSError)  # fmt: skip
"""What a database that is away, starting, stopping, or too slow makes the libraries raise; TimeoutError is an OSError."""
READ_ONLY, SERIALIZATION, DEADLOCK, SHUTDOWN = "25006", "40001", "40P01", "57P"
"""SQLSTATEs; the last is a class: the server, or somebody, ended the session."""
TRIES = 5
CHANNEL = "causeway"
"""Where PostgreSQL tells of new revisions."""
LIMITS = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
"""Of a session: no request of ours is let hang, and none holds the lock of the revision's counter for long."""
POOL = {"pool_size": 10, "max_overflow": 5, "pool_timeout": 5.0, "pool_pre_ping": True}
"""Of a replica: 15 connections, of PostgreSQL's usual 100."""
CONNECT_SECONDS = 3.0
COMMAND_SECONDS = 12.0
"""A little more than a statement may take: when the server is not even able to end it."""


class Database:
    """One engine and its transactions. Raises InvalidInput for an URL that is none of ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin)
            self._reader = self.engine.execution_options(is_reading=True)
        else:  # all statements of a reader see one moment
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reader = self.engine.execution_options(**options)

    async def upgrade(self) -> None:
        """Bring the schema to this release's. Raises Unavailable when the database cannot be reached."""
        async with self.transaction() as connection:
            await connection.run_sync(schema.upgrade)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One consistent view of what was committed; waits for no writer. Raises Unavailable."""
        return self._begun(self._reader)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Everything inside happens, or nothing does. Raises Unavailable when the database is away."""
        return self._begun(self.engine)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `work` gives, in one transaction; done again, whole, when the database itself asks for that: two transactions were in each
        other's way. Raises Unavailable."""
        for left in reversed(range(TRIES)):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if sqlstate(error) not in (SERIALIZATION, DEADLOCK):
                    raise
                if not left:
                    raise Unavailable("too many writers are in each other's way", hint="try again") from error
            await asyncio.sleep(random.uniform(0, 0.02 * (TRIES - left)))
        raise AssertionError("never here")

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if is_away(error):
                raise _unavailable(error) from error
            raise
        except AWAY as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def listening(self, wake: Callable[[], None]) -> AsyncIterator[AsyncConnection]:
        """Call `wake` at each notification until the end of the block, and when the connection is lost. PostgreSQL only; raises Unavailable."""
        async with self._begun(self.engine.execution_options(isolation_level="AUTOCOMMIT")) as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw.add_termination_listener(lambda _connection: wake())
            await raw.add_listener(CHANNEL, lambda *_said: wake())
            try:
                yield connection
            finally:
                await connection.invalidate()  # a listener is no connection for others

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code of an error; empty: none."""
    return str(getattr(error.orig, "sqlstate", "") or "")


def is_away(error: DBAPIError) -> bool:
    """Whether it is the database that is not there, or not able to write, rather than the statement that is wrong."""
    code = sqlstate(error)
    if code in (SERIALIZATION, DEADLOCK):
        return False
    return (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError)
        or code == READ_ONLY
        or code.startswith(SHUTDOWN)
    )


async def next_number(connection: AsyncConnection, counter: str) -> int:
    """Count up. The row stays locked until the transaction ends: numbers become visible in order."""
    statement = update(t.counters).where(t.counters.c.name == counter).values(value=t.counters.c.value + 1)
    return int((await connection.execute(statement.returning(t.counters.c.value))).scalar_one())


async def notify(connection: AsyncConnection) -> None:
    """Wake the replicas when this transaction commits."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"NOTIFY {CHANNEL}"))


async def current_revision(connection: AsyncConnection) -> int:
    """The newest visible revision."""
    return await counter(connection, "revision")


async def counter(connection: AsyncConnection, name: str) -> int:
    """What a counter stands at."""
    statement = select(t.counters.c.value).where(t.counters.c.name == name)
    return int((await connection.execute(statement)).scalar_one())


def _engine(url: str) -> AsyncEngine:
    hint = "like sqlite+aiosqlite:///intent.db or postgresql+asyncpg://user@host/name"
    try:
        parsed = make_url(url)
        if parsed.drivername == "sqlite+aiosqlite":
            return create_async_engine(parsed, pool_pre_ping=True)
        if parsed.drivername == "postgresql+asyncpg":
            settings = {
                "server_settings": {"application_name": "causeway", **LIMITS},
                "timeout": CONNECT_SECONDS,
            }
            return create_async_engine(parsed, connect_args=settings, **POOL)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise InvalidInput(f"the database's URL cannot be read: {type(error).__name__}", hint=hint) from error
    raise InvalidInput(f"a database of {parsed.drivername} is not known", hint=hint)


def _unavailable(error: BaseException) -> Unavailable:
    cause = getattr(error, "orig", None) or error
    said = (str(cause).splitlines() or [""])[0]
    return Unavailable(
        f"the database does not answer: {type(cause).__name__}: {said}",
        hint="check that it runs and that --database-url names it; agents go on enforcing meanwhile",
    )


def _configure_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    # FULL: what was acknowledged is there after a power cut, too.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes its lock at once (a lock that is taken later may be refused); a reader takes none."""
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
