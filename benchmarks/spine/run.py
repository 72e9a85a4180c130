"""`./dev bench spine`: the table, and benchmarks/results/spine.json. Root; some four minutes, six at most."""

import signal
import sys
from types import FrameType

from api.lab.federation import must_be_root
from benchmarks.rows import Row, write
from benchmarks.spine import datapath, federation, maps

MOST_SECONDS = 360


def main() -> None:
    """Measure all. A run that takes too long ends with an error, and with everything that it made removed."""
    must_be_root()
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.alarm(MOST_SECONDS)
    rows: list[Row] = []
    with datapath.contenders() as contenders:
        rows += map(_said, datapath.rows(contenders))
        rows += map(_said, maps.rows(contenders))
    with federation.lab() as lab:
        rows += map(_said, federation.rows(lab))
    signal.alarm(0)
    print(f"written: {write('spine', rows)}")


def _said(row: Row) -> Row:
    print(f"{row.name}: {row.ours:,.4g} {row.unit}", flush=True)
    return row


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"not done in {MOST_SECONDS} seconds")


if __name__ == "__main__":
    main()
