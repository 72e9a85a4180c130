"""Flows on disk: two files of bounded size, whole lines, followed over a change of file."""

from pathlib import Path

from nodeagent.dataplane.ebpf.observe.flow_log import FILE, OLDER, Follower, append, lines_of


def numbers(lines: object) -> list[int]:
    return [line["n"] for line in lines]  # type: ignore[attr-defined]


def test_what_was_written_is_read_oldest_first_and_is_nobody_elses(tmp_path: Path) -> None:
    append(tmp_path, [{"n": 1}, {"n": 2}])
    append(tmp_path, [])
    append(tmp_path, [{"n": 3}])
    assert numbers(lines_of(tmp_path)) == [1, 2, 3]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_two_files_are_kept_and_no_more(tmp_path: Path) -> None:
    for n in range(10):
        append(tmp_path, [{"n": n}], most_bytes=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == [OLDER, FILE]
    assert numbers(lines_of(tmp_path)) == [6, 7, 8, 9]


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    append(tmp_path, [{"n": 1}])
    with (tmp_path / FILE).open("a") as file:
        file.write('{"n": \n[1]\n')
    append(tmp_path, [{"n": 2}])
    assert numbers(lines_of(tmp_path)) == [1, 2]


def test_a_follower_reads_on_also_in_the_next_file(tmp_path: Path) -> None:
    early = Follower(tmp_path)
    assert list(early.more()) == []
    append(tmp_path, [{"n": 1}])
    late = Follower(tmp_path)
    assert (numbers(early.more()), numbers(late.more())) == ([1], [])
    with (tmp_path / FILE).open("a") as file:
        file.write('{"n": 2}\n{"n"')
        file.flush()
        assert numbers(late.more()) == [2]
        file.write(": 3}\n")
    assert numbers(late.more()) == [3]
    append(tmp_path, [{"n": 4}], most_bytes=1)
    assert numbers(late.more()) == [4]
