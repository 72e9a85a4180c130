"""When a verdict changed, told from what was sent and what came."""

import pytest

from benchmarks.spine.flips import Write, delays, percentile


def test_the_delay_ends_with_the_first_datagram_under_the_new_verdict() -> None:
    sent = [0.1, 0.2, 0.3, 0.4, 1.1, 1.2, 1.3]
    came = [0.1, 0.2, 1.2, 1.3]
    writes = [Write(0.15, False), Write(1.0, True)]
    assert delays(writes, sent, came) == pytest.approx([0.15, 0.2])


def test_a_verdict_that_wavers_counts_from_its_last_change() -> None:
    assert delays([Write(0.0, False)], [0.1, 0.2, 0.3, 0.4], [0.2]) == pytest.approx([0.3])


def test_a_write_without_effect_is_an_error() -> None:
    with pytest.raises(ValueError, match="never"):
        delays([Write(0.0, True)], [0.1, 0.2], [])
    with pytest.raises(ValueError, match="never"):
        delays([Write(0.0, True)], [], [])


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1)) == (50, 99, 100)
    assert percentile([7.0], 0.5) == 7
    assert percentile([1.0, 2.0], 0.99) == 2
