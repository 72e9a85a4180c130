"""Pins that are not there to begin with; the rest is on the kernel's own, in tests/kernel/test_drift.py."""

from pathlib import Path

import pytest

from federation.errors import CausewayError
from nodeagent.dataplane.ebpf.upkeep.pins import Pins


def test_a_pin_that_is_not_there_is_an_error_and_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CausewayError, match="open rules"):
        Pins(tmp_path, ("rules",))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
