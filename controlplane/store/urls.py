"""Names of databases: what people type, and what SQLAlchemy wants."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from federation.errors import InvalidInput

HINT = "like sqlite:intent.db, sqlite+aiosqlite:///intent.db or postgresql://user@host/name"
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
"""By what an URL begins with."""


def parsed(text: str) -> URL:
    """SQLAlchemy's form of an URL: `sqlite:path`, libpq's `postgresql://…` (with `sslmode`), or SQLAlchemy's own. Raises InvalidInput."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "sqlite" and not rest.startswith("//"):
        if not rest or rest == ":memory:":
            raise InvalidInput(f"the database {text!r} names no file", hint=HINT)
        return URL.create("sqlite+aiosqlite", database=rest)
    try:
        found = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise InvalidInput(f"the database's URL cannot be read: {type(error).__name__}", hint=HINT) from error
    driver = DRIVERS.get(found.drivername)
    if driver is None:
        raise InvalidInput(f"a database of {found.drivername} is not known", hint=HINT)
    query = {"ssl" if name == "sslmode" else name: value for name, value in found.query.items()}
    return found.set(drivername=driver, query=query)


def shown(text: str) -> str:
    """For messages: without the password."""
    return parsed(text).render_as_string(hide_password=True)


def file_of(text: str) -> Path | None:
    """The file of an SQLite; None: it is none, or in memory."""
    found = parsed(text)
    if not found.drivername.startswith("sqlite") or not found.database or found.database == ":memory:":
        return None
    return Path(found.database)
