"""One measured figure beside its peers', the file that keeps them, and the table that shows them."""

import json
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
TITLES = ("what", "unit", "ours", "peers", "ratio", "growth", "aim", "met", "note")
WIDTH = 200
"""Columns of a table that is written to a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`ratio` is ours over the first peer, from the same run; `aim` says what it should be, `met` whether it is. `growth`: ours over
    that of the smallest size, and how many times as large the size is."""

    name: str
    unit: str
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""
    growth: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """What a ratio, or a figure without peers, should be: at least or at most so much."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def is_met(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def compared(
    name: str, unit: str, samples: Mapping[str, Sequence[float]], *, aim: Aim | None = None, note: str = ""
) -> Row:
    """A row of contenders measured in turns: the first is ours, the second is what the ratio and its aim are about. Figures are
    medians; the ratio is the median of each turn's own, because a noisy machine disturbs neighbours in time alike."""
    ours, *others = samples
    ratio = None
    if others:
        pairs = zip(samples[ours], samples[others[0]], strict=True)
        ratio = statistics.median(own / other for own, other in pairs)
    figure = statistics.median(samples[ours])
    return Row(
        name=name,
        unit=unit,
        ours=figure,
        peers={other: statistics.median(samples[other]) for other in others},
        ratio=ratio,
        aim=str(aim) if aim else "",
        met=aim.is_met(figure if ratio is None else ratio) if aim else None,
        note=note,
    )


def grown(rows: Iterable[tuple[float, Row]]) -> Iterator[Row]:
    """Rows of one measurement at growing sizes, each with its size over any unit: they are told what they are to the first. Of a
    rate it is the time of one that grows."""
    first: tuple[float, float] | None = None
    for size, row in rows:
        first = first or (size, row.ours)
        above, below = (first[1], row.ours) if row.unit.endswith("/s") else (row.ours, first[1])
        ratio = above / below if below else 1.0
        yield replace(row, growth=(ratio, size / first[0]))


def write(area: str, rows: Sequence[Row]) -> Path:
    """Keep the rows of one run as `results/AREA.json`, with machine and date, and print them as a table."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{area}.json"
    uname = platform.uname()
    body = {
        "area": area,
        "date": datetime.now(UTC).date().isoformat(),  # noqa: TID251 - a report's date, not logic
        "machine": f"{_model()}, {_cores()} cores, {uname.system} {uname.release} {uname.machine}",
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(body, indent=1) + "\n")
    show(area, rows)
    return path


def show(area: str, rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    is_terminal = sys.stdout.isatty()
    Console(width=None if is_terminal else WIDTH).print(table(area, rows))


def table(area: str, rows: Sequence[Row]) -> Table:
    """The rows as people read them."""
    shown = Table(title=f"benchmarks: {area}")
    for title in TITLES:
        shown.add_column(title)
    for row in rows:
        shown.add_row(*cells(row))
    return shown


def cells(row: Row) -> tuple[str, ...]:
    """One row in words, column by column."""
    peers = ", ".join(f"{name} {figure(value)}" for name, value in row.peers.items())
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {None: "", True: "yes", False: "no"}[row.met]
    growth = "" if row.growth is None else f"{row.growth[0]:.2g} of {row.growth[1]:.3g}"
    return row.name, row.unit, figure(row.ours), peers, ratio, growth, row.aim, met, row.note


def figure(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cpu_lines(start: str) -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith(start)]


def _cores() -> int:
    return len(_cpu_lines("processor"))


def _model() -> str:
    return next(iter(_cpu_lines("model name")), "unknown processor")
