"""`./dev bench rest [SIZES]`: reads and writes a second of one replica, on SQLite and on PostgreSQL, at 12,500 … 100,000 endpoints;
benchmarks/results/rest.json. Named sizes are measured only, and not written."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fanout.run import PATIENCE, free_port, postgresql
from benchmarks.rows import Row, grown, show, write

AREA = "rest"
SIZES = (12_500, 25_000, 50_000, 100_000)
SECONDS, CONNECTIONS = 4.0, 8
ASKED: Mapping[str, str] = {
    "read": "one endpoint read",
    "page": "a page of 500 endpoints",
    "unchanged": "a page of 500 endpoints that has not changed (304)",
    "selected": "the endpoints of a selector (1 of 200)",
    "write": "one policy replaced",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one size and database. `rates` a second, `late`: p99 in milliseconds, by what was asked."""

    endpoints: int
    filled: float
    rates: Mapping[str, float]
    late: Mapping[str, float]


def main(sizes: list[int]) -> None:
    """Measure all, or those sizes."""
    rows: list[Row] = []
    for database in ("SQLite", "PostgreSQL"):
        found = [measured(size, database) for size in sizes or SIZES]
        rows += [replace(row, name=f"{database}: {row.name}") for row in rows_of(found)]
    if sizes:
        show(AREA, rows)
    else:
        print(f"written: {write(AREA, rows)}")


def rows_of(found: list[Measured]) -> Iterator[Row]:
    """The table."""
    for kind, what in ASKED.items():
        yield from grown((m.endpoints, Row(name=f"{what}, {m.endpoints:,} stand", unit="1/s", ours=m.rates[kind])) for m in found)  # fmt: skip
        yield from grown((m.endpoints, Row(name=f"{what}, p99, {m.endpoints:,} stand", unit="ms", ours=m.late[kind])) for m in found)  # fmt: skip
    yield from grown((m.endpoints, Row(name=f"endpoints written in bulks of 500, the first 5,000 of {m.endpoints:,}", unit="1/s", ours=m.filled)) for m in found)  # fmt: skip


def measured(endpoints: int, database: str, seconds: float = SECONDS) -> Measured:
    """One size, from an empty database; plain HTTP on loopback, clients in a process of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite+aiosqlite:///{folder / 'intent.db'}"
        if database == "PostgreSQL":
            url = stack.enter_context(postgresql())
        token, filled = _said("filling", url, str(endpoints)).splitlines()[-1].split()
        port = free_port()
        stack.enter_context(_serving(folder, url, port))
        rates, late = {}, {}
        for kind in ASKED:
            told = json.loads(_said("clients", str(port), token, kind, str(seconds), str(CONNECTIONS), str(endpoints)))  # fmt: skip
            times = sorted(told["times"])
            rates[kind] = len(times) / told["seconds"]
            late[kind] = times[int(len(times) * 0.99)] * 1000
        found = Measured(endpoints=endpoints, filled=float(filled), rates=rates, late=late)
        print(database, found, flush=True)
        return found


def _said(module: str, *words: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.rest.{module}", *words]
    return subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def _serving(folder: Path, url: str, port: int) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "api.cli.main",
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--data-dir",
        str(folder / "server"),
    ]
    command += ["--database-url", url, "--insecure-http", "--rate", "1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()
            yield
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
