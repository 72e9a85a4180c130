"""What this kernel has is found by trying; a helper that no kernel has is not there."""

import os

import pytest

from nodeagent.dataplane.ebpf.upkeep import features


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("root is needed to load a program")


def test_a_helper_is_there_or_not() -> None:
    ktime_get_ns = 5  # since Linux 4.1
    assert features.has_helper(ktime_get_ns)
    assert not features.has_helper(0x7FFF)


def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for ask in (features.has_ring_buffer, features.has_batches, lambda: features.has_helper(5)):
        assert ask() in (True, False)
    assert len(os.listdir("/proc/self/fd")) == before
