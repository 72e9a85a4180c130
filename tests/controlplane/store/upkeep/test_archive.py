"""The file of a backup: what is written is read, and what is not whole is refused, wherever it was cut or altered."""

import gzip
import random
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from controlplane.store.upkeep.archive import Archive, Header, Rows, written
from federation.errors import InvalidInput, NotFound, Unavailable

HEADER = Header(schema="0003", release="1", made="2026-01-01T00:00:00+00:00", source="sqlite")
ROWS = [
    ("a", 1, None, True, b"\x00\xff", datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 2), {"bytes": [1]}, 1.5),
    ("ä\n\u2028", 2**60, "", False, b"", datetime(2026, 1, 1, 1, 2, 3, 4, UTC), date(1, 1, 1), [], 0.0),
]  # fmt: skip
COLUMNS = tuple(f"c{n}" for n in range(9))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    with written(tmp_path / "b") as writer:
        writer.begin(HEADER)
        writer.table("things", COLUMNS)
        writer.add(ROWS[:1])
        writer.add(ROWS[1:])
        writer.table("nothing", ("x",))
        writer.end()
    return tmp_path / "b"


def test_what_is_written_is_read(backup: Path) -> None:
    archive = Archive(backup)
    assert archive.header == HEADER
    assert archive.verify() == {"things": 2, "nothing": 0}
    assert list(archive.batches(1)) == [
        *(Rows("things", COLUMNS, (row,)) for row in ROWS),
        Rows("things", COLUMNS, ()),
        Rows("nothing", ("x",), ()),
    ]


def test_wherever_it_is_cut_it_is_refused(backup: Path) -> None:
    whole = backup.read_bytes()
    for length in range(len(whole)):
        backup.write_bytes(whole[:length])
        with pytest.raises(InvalidInput, match="no whole backup"):
            Archive(backup).verify()


def test_whatever_line_is_left_out_altered_or_doubled_it_is_refused(backup: Path) -> None:
    lines = gzip.decompress(backup.read_bytes()).splitlines(keepends=True)
    chance = random.Random(1)
    for index, line in enumerate(lines):
        place = chance.randrange(1, len(line) - 1)
        altered = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        for instead in (b"", altered, line + line, b"[]\n", b"{}\n", b"3\n"):
            backup.write_bytes(gzip.compress(b"".join([*lines[:index], instead, *lines[index + 1 :]])))
            with pytest.raises(InvalidInput):
                Archive(backup).verify()


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidInput, match="unpacked"):
        Archive(tmp_path / "text")
    with pytest.raises(NotFound, match="nowhere"):
        Archive(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Archive(tmp_path)
    (tmp_path / "new").write_bytes(gzip.compress(b'{"format":"causeway-backup","version":2}\n'))
    with pytest.raises(InvalidInput, match="newer release"):
        Archive(tmp_path / "new")


def test_one_that_fails_leaves_the_older_and_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("older")
    with pytest.raises(InvalidInput, match="complex"):
        write(tmp_path / "b", 1j)
    with pytest.raises(Unavailable, match="cannot be written"):
        write(tmp_path / "no" / "b", 1)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("b", "older")]


def write(path: Path, cell: object) -> None:
    with written(path) as writer:
        writer.begin(HEADER)
        writer.table("things", ("a",))
        writer.add([(cell,)])
