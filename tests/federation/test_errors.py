"""An error as people read it: every fault on a line, and never a flood."""

from federation.errors import MAX_SHOWN, Fault, InvalidInput, shown


def test_faults_and_hint_have_a_line_each() -> None:
    error = InvalidInput("two faults", hint="look", faults=[Fault("", "whole"), Fault("/a", "part")])
    assert str(error).splitlines() == ["two faults", "  /: whole", "  /a: part", "  hint: look"]


def test_people_are_shown_some_of_very_many_faults_and_programs_get_all() -> None:
    error = InvalidInput("many", faults=[Fault(f"/{n}", "wrong") for n in range(5000)])
    assert len(error.faults) == 5000
    assert str(error).splitlines()[MAX_SHOWN + 1 :] == [f"  … and {5000 - MAX_SHOWN} more"]


def test_a_fault_that_quotes_a_megabyte_is_cut() -> None:
    (fault,) = InvalidInput("large", faults=[Fault("/a", "x" * 1_000_000)]).faults
    assert len(fault.message) < 5000


def test_what_a_user_gave_is_quoted_in_short() -> None:
    assert shown("short") == "'short'"
    assert len(shown({"a" * 1000: [list(range(1000))] * 1000})) < 300
