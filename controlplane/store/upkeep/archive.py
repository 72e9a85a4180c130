"""The file of a backup: gzip of JSON lines, so that any tool can look into it and any database can take it.

::

    {"format": "causeway-backup", "version": 1, "schema": "0003", "release": …, "made": …, "source": "sqlite"}
    {"table": "resources", "columns": ["kind", …]}
    ["Tier", …]                                        one row a line
    {"table": …}
    {"rows": {"resources": 12, …}, "sha256": "…"}      of all bytes above: a file without this line is cut off
"""

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO

from federation.errors import InvalidInput, NotFound, Unavailable

FORMAT, VERSION = "causeway-backup", 1
LEVEL = 6
BATCH = 500
"""Rows."""
LONGEST_LINE = 256 << 20
"""Bytes: what is longer is no row of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a backup says of itself."""

    schema: str
    """The version of its tables."""
    release: str
    made: str
    source: str
    """sqlite or postgresql."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of a table's rows, in the order of `columns`."""

    table: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(slots=True)
class Writer:
    """Writes one backup."""

    file: BinaryIO | gzip.GzipFile
    rows: dict[str, int] = field(default_factory=dict)
    _digest: Any = field(default_factory=hashlib.sha256)
    _table: str = ""

    def begin(self, header: Header) -> None:
        """Comes first."""
        said = {name: getattr(header, name) for name in Header.__slots__}
        self._line({"format": FORMAT, "version": VERSION, **said})

    def table(self, name: str, columns: Sequence[str]) -> None:
        """What follows are its rows."""
        self._table, self.rows[name] = name, 0
        self._line({"table": name, "columns": list(columns)})

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Rows of the table that was named last."""
        for row in rows:
            self._line([_cell(value, self._table) for value in row])
        self.rows[self._table] += len(rows)

    def end(self) -> str:
        """Comes last: the checksum."""
        found: str = self._digest.hexdigest()
        self._line({"rows": self.rows, "sha256": found})
        return found

    def _line(self, value: Any) -> None:
        line = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        self._digest.update(line)
        self.file.write(line)


@contextmanager
def written(path: Path) -> Iterator[Writer]:
    """A backup of that name, once the block has ended well: until then it has another name beside, and one of that name stays as it is. Only its
    owner may read it. Raises Unavailable when the disk does not do."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as raw:
                with gzip.GzipFile(
                    filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0
                ) as packed:
                    yield Writer(packed)
                raw.flush()
                os.fsync(raw.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        folder = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from error


class Archive:
    """A backup that is read. Every reading goes through the whole file again; no more than a batch is held in memory. Raises InvalidInput for
    what is no backup, NotFound when there is no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            self.header = self._header(self._parsed(self._line(file)))

    def verify(self) -> dict[str, int]:
        """Read it to its end: rows by table. Raises InvalidInput when it is cut off, altered, or not what it says."""
        counts: dict[str, int] = {}
        for batch in self.batches():
            counts[batch.table] = counts.get(batch.table, 0) + len(batch.rows)
        return counts

    def batches(self, size: int = BATCH) -> Iterator[Rows]:
        """All rows, table by table; of a table without rows one empty batch. Raises InvalidInput, at the end when it is the checksum."""
        seen: dict[str, int] = {}
        table, columns = "", ()
        rows: list[tuple[Any, ...]] = []
        for value in self._proven(seen):
            if isinstance(value, dict):
                if table:
                    yield Rows(table, columns, tuple(rows))
                table, columns, rows = value["table"], tuple(value["columns"]), []
                continue
            if not table or len(value) != len(columns):
                raise self._broken(f"a row of {table or 'no table'} has not the cells that it should have")
            seen[table] += 1
            try:
                rows.append(tuple(map(_value, value)))
            except ValueError as error:
                raise self._broken(f"a cell of {table} cannot be read") from error
            if len(rows) >= size:
                yield Rows(table, columns, tuple(rows))
                rows = []
        if table:
            yield Rows(table, columns, tuple(rows))

    def _proven(self, seen: dict[str, int]) -> Iterator[Any]:
        """Lines between the first and the last; `seen` counts what its reader has taken of each table."""
        digest = hashlib.sha256()
        with self._opened() as file:
            digest.update(self._line(file))
            while line := self._line(file):
                value = self._parsed(line)
                if isinstance(value, dict) and "sha256" in value:
                    self._prove(value, digest.hexdigest(), seen)
                    if self._line(file):  # gzip's own checksum is proven by reading on
                        raise self._broken("something follows its last line")
                    return
                if isinstance(value, dict):
                    self._begins_table(value, seen)
                digest.update(line)
                yield value
        raise self._broken("its last line is missing: it was cut off")

    def _begins_table(self, value: dict[str, Any], seen: dict[str, int]) -> None:
        match value:
            case {"table": str(name), "columns": [*columns]} if name not in seen and all(
                isinstance(column, str) for column in columns
            ):
                seen[name] = 0
            case _:
                raise self._broken("a line of it is none of a backup's")

    def _prove(self, last: dict[str, Any], digest: str, seen: dict[str, int]) -> None:
        if last["sha256"] != digest:
            raise self._broken("its checksum is wrong: it was altered or damaged")
        if last.get("rows") != seen:
            raise self._broken("it has not the rows that it says")

    @contextmanager
    def _opened(self) -> Iterator[gzip.GzipFile]:
        try:
            with gzip.open(self.path, "rb") as file:
                yield file
        except FileNotFoundError as error:
            raise NotFound(f"{self.path} does not exist") from error
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise self._broken(f"it cannot be unpacked ({error})") from error
        except OSError as error:
            raise InvalidInput(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _line(self, file: gzip.GzipFile) -> bytes:
        line = file.readline(LONGEST_LINE)
        if line and not line.endswith(b"\n"):
            raise self._broken("a line of it has no end")
        return line

    def _parsed(self, line: bytes) -> Any:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise self._broken("a line of it is no JSON") from error
        if not isinstance(value, dict | list):
            raise self._broken("a line of it is none of a backup's")
        return value

    def _header(self, value: Any) -> Header:
        match value:
            case {"format": f, "version": int(version), **said} if f == FORMAT and version <= VERSION:
                return Header(**{name: str(said.get(name, "")) for name in Header.__slots__})
            case {"format": f} if f == FORMAT:
                raise InvalidInput(f"{self.path} is of a newer release", hint="restore it with that release")
        raise self._broken("it is none")

    def _broken(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"{self.path} is no whole backup: {why}", hint="nothing was changed; take another backup"
        )


def _cell(value: Any, table: str) -> Any:
    """As JSON says it; what JSON does not know is an object with its type."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes | memoryview):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, dict | list):
        return {"json": value}
    raise InvalidInput(f"table {table} holds a {type(value).__name__}, which a backup cannot carry yet")


def _value(cell: Any) -> Any:
    match cell:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"json": value}:
            return value
    return cell
