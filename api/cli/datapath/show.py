"""How these commands print: a table for people, JSON for programs; sizes and times short."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from api.cli.common import OUT, literal

UNITS = ("B", "KiB", "MiB", "GiB")
NUMBERS = frozenset(
    {"ENTRIES", "CAPACITY", "FULL", "KEY", "VALUE", "MEMORY", "PACKETS", "BYTES", "AGE", "EXPIRES", "RTT"}
)


def as_json(items: Any) -> None:
    """Dataclasses, one after the other in a list, or one."""
    content = asdict(items) if hasattr(items, "__dataclass_fields__") else [asdict(item) for item in items]
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def as_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Cells are taken as they are: no markup, nothing that a terminal would obey."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in NUMBERS else "left", overflow="fold")
    for row in rows:
        table.add_row(*(literal(cell) for cell in row))
    OUT.print(table)


def size(count: float) -> str:
    """Bytes, in three digits or so."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {UNITS[unit]}"


def seconds(count: float) -> str:
    """A time, in its two largest parts."""
    whole = int(count)
    if whole < 60:
        return f"{count:.1f}s" if whole < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
