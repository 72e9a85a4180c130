"""Processes whose machine's clock a test sets: Debian's libfaketime before the C library's. Monotonic clocks go on as they are."""

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class MachineClock:
    """Of the processes that were started with `environment`."""

    file: Path

    def set(self, words: str) -> None:
        """From now on: `+3d`, `-1h`, `+0`. The file is never half written."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{words}\n")
        fresh.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        """Skips the test where the library is not installed."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("Debian's package libfaketime is not installed")
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
