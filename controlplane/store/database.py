"""Engines and transactions: SQLite (one file, WAL) and PostgreSQL from the same code."""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.store import schema, urls
from controlplane.store import tables as t
from federation.errors import InvalidInput, Unavailable

T = TypeVar("T")
Connection = AsyncConnection
"""What work in a transaction is given."""
AWAY = (OperationalError, InterfaceError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, OSError)  # fmt: skip
"""What a database that is away, starting, stopping, or too slow makes the libraries raise; TimeoutError is an OSError."""
SERIALIZATION, DEADLOCK = "40001", "40P01"
NOT_NOW = ("08", "25006", "25P03", "53", "55P03", "57")
"""SQLSTATEs, or their classes: a connection was lost, also while it was made; a standby, or a server set so, only reads; a transaction idled too long; no disk, memory or connection is left; a
lock, or the end of a statement, was waited for too long; somebody ended the session or the server."""
TRIES = 5
CHANNEL = "causeway"
"""Where PostgreSQL tells of new revisions."""
LIMITS = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
"""Of a session: no request of ours is let hang, and none holds the lock of the revision's counter for long."""
POOL = {"pool_size": 10, "max_overflow": 5, "pool_timeout": 5.0}
"""Of a replica: 15 connections, of PostgreSQL's usual 100."""
CONNECT_SECONDS = 3.0
READER_SECONDS, WRITER_SECONDS = 5.0, 12.0
"""How long a transaction may take: a server that is frozen, or behind a network that swallows packets, is not even able to end a statement. Its
connection is then cut without a word to it."""
CLOSE_SECONDS = 2.0
UPGRADE_SECONDS = 600.0
"""Of a statement of a migration, and of waiting for another replica that migrates."""


class Database:
    """One engine and its transactions. Raises InvalidInput for an URL that is none of ours. `statement_seconds`: what a server is let take for one
    statement; more than a request's for work on whole tables."""

    def __init__(self, url: str, statement_seconds: float = WRITER_SECONDS) -> None:
        self.url = url
        self.engine = _engine(url, statement_seconds)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin)
            self._reader = self.engine.execution_options(is_reading=True)
        else:  # all statements of a reader see one moment
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reader = self.engine.execution_options(**options)
            event.listen(self.engine.sync_engine, "checkout", _refuse_closed)

    async def upgrade(self) -> None:
        """Bring the schema to this release's. Raises Unavailable when the database cannot be reached, Conflict when it is somebody else's."""
        self.own_file()
        async with self.reading() as connection:
            standing = await connection.run_sync(schema.version)
        if standing >= schema.newest():
            return
        patient = self if self.is_sqlite else Database(self.url, UPGRADE_SECONDS)  # tables may be large
        try:
            async with patient.transaction(None) as connection:
                await connection.run_sync(schema.upgrade)
        finally:
            if patient is not self:
                await patient.close()

    def own_file(self) -> bool:
        """Make SQLite's file for its directory's owner alone, for it holds hashes of credentials; whether there was none. Raises Unavailable."""
        path = urls.file_of(self.url)
        if path is None or path.exists():
            return False
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            if os.geteuid() == 0:
                owner = path.absolute().parent.stat()
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise Unavailable(
                f"{path} cannot be made: {error.strerror}", hint="make its directory first"
            ) from error
        return True

    def reading(self, seconds: float | None = READER_SECONDS) -> AbstractAsyncContextManager[AsyncConnection]:
        """One consistent view of what was committed; waits for no writer, and no longer than that (None: as long as it takes). Raises
        Unavailable."""
        return self._begun(self._reader, seconds)

    def transaction(
        self, seconds: float | None = WRITER_SECONDS
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """Everything inside happens, or nothing does. Raises Unavailable when the database is away."""
        return self._begun(self.engine, seconds)

    async def run(
        self, work: Callable[[AsyncConnection], Awaitable[T]], seconds: float | None = WRITER_SECONDS
    ) -> T:
        """What `work` gives, in one transaction of at most so long; done again, whole, when the database itself asks for that: two transactions were in each
        other's way. Raises Unavailable."""
        for left in reversed(range(TRIES)):
            try:
                async with self.transaction(seconds) as connection:
                    return await work(connection)
            except DBAPIError as error:
                if sqlstate(error) not in (SERIALIZATION, DEADLOCK):
                    raise
                if not left:
                    raise Unavailable("too many writers are in each other's way", hint="try again") from error
            await asyncio.sleep(random.uniform(0, 0.02 * (TRIES - left)))
        raise AssertionError("never here")

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine, seconds: float | None) -> AsyncIterator[AsyncConnection]:
        try:
            async with engine.connect() as connection, self._bounded(connection, seconds), connection.begin():
                yield connection
        except DBAPIError as error:
            if is_away(error):
                raise _unavailable(error) from error
            raise
        except AWAY as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def _bounded(self, connection: AsyncConnection, seconds: float | None) -> AsyncIterator[None]:
        """Cut the connection after so long. To cancel would be no use: what is cancelled asks the server to stop, and waits for it."""
        if self.is_sqlite or seconds is None:
            yield
            return
        raw: Any = (await connection.get_raw_connection()).driver_connection
        alarm = asyncio.get_running_loop().call_later(seconds, raw.terminate)
        try:
            yield
        finally:
            alarm.cancel()

    @asynccontextmanager
    async def listening(self, wake: Callable[[], None]) -> AsyncIterator[AsyncConnection]:
        """Call `wake` at each notification until the end of the block, and when the connection is lost. PostgreSQL only; raises Unavailable."""
        engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with self._begun(engine, None) as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw.add_termination_listener(lambda _connection: wake())
            await raw.add_listener(CHANNEL, lambda *_said: wake())
            try:
                yield connection
            finally:
                await connection.invalidate()  # a listener is no connection for others

    async def close(self) -> None:
        """Give all connections back."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.engine.dispose(), CLOSE_SECONDS)


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
        or code.startswith(NOT_NOW)
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


def _engine(url: str, statement_seconds: float) -> AsyncEngine:
    parsed = urls.parsed(url)
    if parsed.drivername.startswith("sqlite"):
        return create_async_engine(parsed, pool_pre_ping=True, connect_args={"factory": _File})
    milliseconds = f"{statement_seconds * 1000:.0f}"
    limits = LIMITS if statement_seconds <= WRITER_SECONDS else dict.fromkeys(LIMITS, milliseconds)
    settings = {
        "server_settings": {"application_name": "causeway", **limits},
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds,
    }
    try:
        return create_async_engine(parsed, connect_args=settings, **POOL)
    except ValueError as error:
        raise InvalidInput(f"the database's URL cannot be read: {error}", hint=urls.HINT) from error


def _unavailable(error: BaseException) -> Unavailable:
    cause = getattr(error, "orig", None) or error
    said = ": ".join(filter(None, (type(cause).__name__, *str(cause).splitlines()[:1])))
    return Unavailable(
        f"the database does not answer: {said}",
        hint="check that it runs and that --database-url names it; agents go on enforcing meanwhile",
    )


def _refuse_closed(dbapi_connection: Any, _record: Any, _fairy: Any) -> None:
    """A connection whose server is gone is passed over, without a round trip to ask."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


class _File(sqlite3.Connection):
    """Of SQLite. One that is closed while a cursor of it is held lives on until that is gone, with its transaction, which would keep all others from
    writing: so who is cancelled in the middle of one rolls back first."""

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


def _configure_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    # FULL: what was acknowledged is there after a power cut, too.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: SyncConnection) -> None:
    """A writer takes its lock at once (a lock that is taken later may be refused); a reader takes none."""
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
