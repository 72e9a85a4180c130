"""The measurement itself works."""

import pytest

from benchmarks.rest.run import ASKED, measured, rows_of


@pytest.mark.postgresql
@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_everything_is_asked_and_answered(database: str) -> None:
    found = measured(500, database, seconds=0.3)
    assert set(found.rates) == set(ASKED)
    assert min(found.rates.values()) > 1
    assert len(list(rows_of([found]))) == 2 * len(ASKED) + 1
