"""URLs as people type them, and as SQLAlchemy wants them."""

import pytest

from controlplane.store import urls
from federation.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sqlite:intent.db", "sqlite+aiosqlite:///intent.db"),
        ("sqlite:/var/lib/x y.db", "sqlite+aiosqlite:////var/lib/x y.db"),
        ("sqlite:///intent.db", "sqlite+aiosqlite:///intent.db"),
        ("sqlite+aiosqlite:////a/b.db", "sqlite+aiosqlite:////a/b.db"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h:5/d?sslmode=require", "postgresql+asyncpg://u@h:5/d?ssl=require"),
        ("postgresql+asyncpg://u@/d?host=/run", "postgresql+asyncpg://u@/d?host=%2Frun"),
    ],
)
def test_short_and_long_forms_mean_the_same(text: str, wanted: str) -> None:
    assert urls.parsed(text).render_as_string(hide_password=False) == wanted


@pytest.mark.parametrize(
    "text", ["", "x", "sqlite:", "sqlite::memory:", "mysql://h/d", "postgresql+psycopg://h/d", "http://h"]
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        urls.parsed(text)
    assert "sqlite:intent.db" in refused.value.hint


def test_a_password_is_not_shown() -> None:
    assert "geheim" not in urls.shown("postgresql://u:geheim@h/d")


def test_the_file_of_an_sqlite() -> None:
    assert str(urls.file_of("sqlite:a/b.db")) == "a/b.db"
    assert urls.file_of("sqlite+aiosqlite://") is None
    assert urls.file_of("postgresql://h/d") is None
