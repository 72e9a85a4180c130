"""One measured figure beside its peers', the file that keeps them, and the table that shows them."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`ratio` is ours over the first peer, from the same run; `aim` says what it should be, `met` whether it is."""

    name: str
    unit: str
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""


def write(area: str, rows: Sequence[Row]) -> Path:
    """Keep the rows of one run as `results/AREA.json`, with machine and date, and print them as a table."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{area}.json"
    uname = platform.uname()
    body = {
        "area": area,
        "date": datetime.now(UTC).date().isoformat(),  # noqa: TID251 - a report's date, not logic
        "machine": f"{uname.system} {uname.release} {uname.machine}, {_cores()} cores",
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(body, indent=1) + "\n")
    Console().print(table(area, rows))
    return path


def table(area: str, rows: Sequence[Row]) -> Table:
    """The rows as people read them."""
    shown = Table(title=f"benchmarks: {area}")
    for title in ("what", "unit", "ours", "peers", "ratio", "aim", "met", "note"):
        shown.add_column(title)
    for row in rows:
        peers = ", ".join(f"{name} {value:,.4g}" for name, value in row.peers.items())
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        shown.add_row(row.name, row.unit, f"{row.ours:,.4g}", peers, ratio, row.aim, met, row.note)
    return shown


def _cores() -> int:
    return len(
        [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
    )
