"""Which generation a new one takes its connections from: told by folders alone."""

from pathlib import Path

import pytest

from nodeagent.dataplane.ebpf import loader
from nodeagent.dataplane.ebpf.upkeep import generations

SOURCE = loader.source()


def folder(parent: Path, name: str, shape: str, *pins: str) -> Path:
    made = parent / name
    made.mkdir()
    for pin in pins:
        (made / pin).touch()
    (made / generations.SHAPE).symlink_to(shape)
    return made


def test_a_shape_is_of_the_connections_and_of_nothing_else() -> None:
    shape = generations.shape(SOURCE)
    assert generations.shape(SOURCE + "\nint more(void) { return 0; } // more\n") == shape
    assert generations.shape(SOURCE.replace("u64 opened_at;", "u64 opened_at; // when")) == shape
    assert generations.shape(SOURCE.replace("u64 opened_at;", "u64 began_at;")) != shape
    assert generations.shape(SOURCE.replace("struct connection_key {", "struct connection_key { u32 more;")) != shape  # fmt: skip


def test_a_text_that_does_not_declare_its_connections_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 times"):
        generations.shape(SOURCE.replace("openings, OPENINGS", "beginnings, OPENINGS"))


def test_a_donor_has_the_same_shape_and_every_map(tmp_path: Path) -> None:
    wanted = "abc 28"
    assert generations.donor(tmp_path / "away", wanted) is None
    folder(tmp_path, "other", "def 28", *generations.CARRIED)
    folder(tmp_path, "half", wanted, *generations.CARRIED[1:])
    (tmp_path / "old").mkdir()
    assert generations.donor(tmp_path, wanted) is None
    able = folder(tmp_path, "able", "abc 32", *generations.CARRIED)
    assert generations.donor(tmp_path, wanted) == able


def test_a_folder_that_is_not_whole_makes_way_and_the_rest_is_removed(tmp_path: Path) -> None:
    kept = folder(tmp_path, "kept", "abc 28", "one", "two")
    assert generations.is_whole(kept, ("one", "two"))
    assert not generations.is_whole(kept, ("one", "two", "three"))
    folder(tmp_path, "kept-new", "abc 28")
    folder(tmp_path, "kept-torn", "abc 28")
    generations.make_way(kept)
    assert [path.name for path in generations.folders(tmp_path)] == ["kept-torn"]
    assert (tmp_path / "kept-torn" / "one").exists()
    whole = folder(tmp_path, "kept", "abc 28", "one")
    (tmp_path / "holder").symlink_to("somebody")
    generations.remove_others(tmp_path, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holder", "kept"]
