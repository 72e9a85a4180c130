"""`./dev bench datapath`: the table, and benchmarks/results/datapath.json. Root; some eleven minutes. Parts can be named: `traffic`, `updates`,
`kernel`, `memory`, `agent`, `early`, `designs`; then only those are measured, and nothing is written."""

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from api.lab.federation import must_be_root
from benchmarks.datapath import agent, designs, early, kernel, memory, traffic, updates
from benchmarks.datapath.contenders import Contenders, contenders, missing, note_of, prove_agreement
from benchmarks.rows import Row, show, write

AREA = "datapath"
MOST_SECONDS = 900
PARTS: dict[str, Callable[[Contenders], Iterator[Row]]] = {
    "traffic": traffic.rows,
    "updates": updates.rows,
    "kernel": kernel.rows,
    "memory": memory.rows,
    "agent": agent.rows,
    "early": early.rows,
    "designs": designs.rows,
}


def main(parts: list[str]) -> None:
    """Measure all, or those parts. A run that takes too long ends with an error, and with everything that it made removed."""
    must_be_root()
    if unknown := set(parts) - PARTS.keys():
        sys.exit(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.alarm(MOST_SECONDS)
    if absent := note_of(missing()):
        print(absent, flush=True)
    rows: list[Row] = []
    with contenders() as given:
        print(f"all contenders agree on {prove_agreement(given)} answers", flush=True)
        for part in parts or PARTS:
            rows += map(_said, PARTS[part](given))
    signal.alarm(0)
    if parts:
        show(AREA, rows)
    else:
        print(f"written: {write(AREA, rows)}")


def _said(row: Row) -> Row:
    print(f"{row.name}: {row.ours:,.4g} {row.unit}", flush=True)
    return row


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"not done in {MOST_SECONDS} seconds")


if __name__ == "__main__":
    main(sys.argv[1:])
