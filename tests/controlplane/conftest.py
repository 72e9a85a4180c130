"""A control plane on SQLite and on a real PostgreSQL that the tests start and stop."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.service import ControlPlane, Settings
from tests.controlplane.postgres import POSTGRESQL, Server


class FakeClock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def hear(self, told: datetime) -> None:
        """Who has moved it knows better than a database."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgresql_socket_dir() -> Iterator[Path]:
    """A PostgreSQL that listens on a socket of its own only, without fsync; gone at the end."""
    with _servers() as make:
        server = make()
        server.make()
        server.start()
        yield server.folder


@pytest.fixture
def make_server() -> Iterator[Callable[[], Server]]:
    """Servers of the test's own, not started yet; gone at the end."""
    with _servers() as make:
        yield make


@contextmanager
def _servers() -> Iterator[Callable[[], Server]]:
    if not POSTGRESQL.exists() or os.geteuid() != 0:
        pytest.skip("PostgreSQL 15 and root (to become its user) are needed to start one")
    made: list[Server] = []

    def make() -> Server:
        made.append(Server(Path(tempfile.mkdtemp(prefix="causeway-pg-"))))
        return made[-1]

    try:
        yield make
    finally:
        for server in reversed(made):
            server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    return new_database(request.param)


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """An empty database of a kind: its URL."""
    made: list[str] = []

    def make(kind: str) -> str:
        number = len(made)
        if kind == "sqlite":
            made.append(f"sqlite+aiosqlite:///{tmp_path}/intent{number or ''}.db")
            return made[-1]
        socket_dir = request.getfixturevalue("postgresql_socket_dir")
        name = f"t{abs(hash(request.node.name)) % 10**9}_{number}"
        psql = ["psql", "-h", str(socket_dir), "-U", "postgres", "-qc"]
        subprocess.run([*psql, f"DROP DATABASE IF EXISTS {name}"], check=True, capture_output=True)
        subprocess.run([*psql, f"CREATE DATABASE {name}"], check=True, capture_output=True)
        made.append(f"postgresql+asyncpg://postgres@/{name}?host={socket_dir}")
        return made[-1]

    return make


@pytest.fixture
async def plane(database_url: str, clock: FakeClock) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(Settings(database_url=database_url), clock) as opened:
        yield opened
