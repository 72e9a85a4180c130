"""The page of figures, from results."""

from dataclasses import asdict

from benchmarks.report import HEAD, page
from benchmarks.rows import Row


def test_each_area_has_its_date_its_machine_and_its_rows() -> None:
    row = Row(name="rate", unit="1/s", ours=90, peers={"none": 100}, ratio=0.9, aim="at least 0.5", met=True, note="a|b")  # fmt: skip
    body = {"area": "spine", "date": "2026-01-02", "machine": "Some CPU, 2 cores", "rows": [asdict(row)]}
    text = page([body])
    assert text.startswith("# Performance")
    assert "## spine\n\n2026-01-02, Some CPU, 2 cores\n" in text
    assert "| rate | 1/s | 90 | none 100 | 0.90 |  | at least 0.5 | yes | a\\|b |" in text


def test_without_results_the_page_is_only_its_head() -> None:
    assert page([]) == HEAD


def test_an_area_that_was_not_measured_again_keeps_its_section() -> None:
    row = Row(name="rate", unit="1/s", ours=90)
    old = [{"area": area, "date": "2026-01-02", "machine": "m", "rows": [asdict(row)]} for area in ("b", "a")]
    before = page(old)
    after = page([{"area": "a", "date": "2026-02-03", "machine": "m", "rows": [asdict(row)]}], before)
    assert before.partition("## b")[2] == after.partition("## b")[2]
    assert after.count("## a") == 1
    assert "2026-02-03" in after.partition("## b")[0]
    assert page([], after) == after
