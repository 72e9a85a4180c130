"""Sizes and times are short, and say what they are."""

from api.cli.datapath.show import seconds, size


def test_sizes_have_three_digits_and_a_unit() -> None:
    assert [size(n) for n in (0, 1023, 1024, 2_097_152, 157_286_400, 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "2.0 MiB",
        "150 MiB",
        "1024 GiB",
    ]


def test_times_have_their_two_largest_parts() -> None:
    assert [seconds(n) for n in (0.04, 9.9, 42, 61, 7440)] == ["0.0s", "9.9s", "42s", "1m01s", "2h04m"]
