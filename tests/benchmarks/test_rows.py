"""What a table of figures says."""

import pytest
from rich.console import Console

from benchmarks.rows import Aim, Row, cells, compared, figure, grown, table


def test_a_comparison_is_made_turn_by_turn_so_that_drift_cancels() -> None:
    row = compared("rate", "1/s", {"ours": [90, 45, 9], "none": [100, 50, 10]}, aim=Aim(least=0.9))
    assert (row.ours, row.peers, row.ratio) == (45, {"none": 50}, pytest.approx(0.9))
    assert row.met
    assert row.aim == "at least 0.9"


def test_an_aim_that_is_missed_is_said_to_be_missed() -> None:
    row = compared("rate", "1/s", {"ours": [80], "none": [100], "other": [1]}, aim=Aim(least=0.9))
    assert row.met is False
    assert cells(row) == ("rate", "1/s", "80", "none 100, other 1", "0.80", "", "at least 0.9", "no", "")


def test_without_peers_the_aim_is_about_the_figure() -> None:
    assert compared("delay", "ms", {"ours": [3, 1, 2]}, aim=Aim(most=2)).met
    assert not compared("delay", "ms", {"ours": [3, 4, 2]}, aim=Aim(most=2)).met


def test_turns_that_are_missing_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compared("rate", "1/s", {"ours": [1, 2], "none": [1]})


def test_figures_are_short_and_keep_what_counts() -> None:
    assert [figure(v) for v in (23940.2, 268, 15.234, 0.0512, 0)] == ["23,940", "268", "15.2", "0.0512", "0"]


def test_a_table_shows_every_column() -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table("spine", [Row(name="rate", unit="1/s", ours=5, note="as it is")]))
    text = shown.get()
    for word in (
        "benchmarks: spine",
        "what",
        "ours",
        "peers",
        "ratio",
        "aim",
        "met",
        "rate",
        "1/s",
        "as it is",
    ):
        assert word in text


def test_rows_of_growing_sizes_are_compared_with_the_first() -> None:
    sizes = {2: 10.0, 4: 15.0, 16: 100.0}
    rows = list(grown((size, Row(name="r", unit="s", ours=value)) for size, value in sizes.items()))
    assert [row.growth for row in rows] == [(1, 1), (1.5, 2), (10, 8)]
    assert cells(rows[1])[5] == "1.5 of 2"


def test_a_rate_that_halves_has_grown_to_twice_the_time() -> None:
    rows = list(grown([(1, Row(name="r", unit="1/s", ours=100)), (4, Row(name="r", unit="1/s", ours=50))]))
    assert rows[1].growth == (2, 4)
