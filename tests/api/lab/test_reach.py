"""Two matrices held against each other."""

from api.lab.reach import Comparison

MEASURED = {("a", "b", "TCP"): True, ("b", "a", "TCP"): False, ("a", "b", "UDP"): True}


def test_equal_matrices_have_no_wrong_cell() -> None:
    found = Comparison(MEASURED, dict(MEASURED))
    assert found.wrong == []
    assert found.summary == "3 of 3 cells as the policy engine predicts"


def test_a_difference_is_named_in_either_direction() -> None:
    found = Comparison(MEASURED, {**MEASURED, ("a", "b", "UDP"): False, ("b", "a", "TCP"): True})
    assert found.wrong == [("a", "b", "UDP"), ("b", "a", "TCP")]
    assert found.summary == "1 of 3 cells as the policy engine predicts"
    assert found.cells[1] == {
        "from": "a", "to": "b", "protocol": "UDP", "reached": True, "predicted": False,
    }  # fmt: skip
