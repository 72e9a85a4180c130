"""Kept programs: what comes back is what was kept, or nothing."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.dataplane.ebpf.build import objects
from nodeagent.dataplane.ebpf.build.objects import MapShape, Objects, Program

PLAIN, WIDE = struct.pack("<BBhi", 0xB7, 0, 0, 7), struct.pack("<BBhi", 0x18, 0x11, 0, 42)
SECOND_HALF = struct.pack("<BBhi", 0, 0, 0, 0)
CODE = PLAIN + WIDE + SECOND_HALF
KEY = objects.key_of("text", ["-DX=1"])
MADE = Objects({"rules": MapShape(1, 4, 8, 100, 0)}, {"walk": Program.of(3, CODE, {42: "rules"})})


def test_maps_are_asked_for_by_name_and_given_by_the_process() -> None:
    program = MADE.programs["walk"]
    assert program.asks == {1: "rules"}
    assert struct.pack("<i", 42) not in program.code, "a descriptor of another process means nothing"
    assert program.with_maps({"rules": 42}) == CODE
    assert program.with_maps({"rules": 7}) == PLAIN + WIDE[:4] + struct.pack("<i", 7) + SECOND_HALF


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    assert objects.find(folder, KEY) is None
    objects.keep(folder, KEY, MADE)
    assert objects.find(folder, KEY) == MADE
    assert objects.find(folder, objects.key_of("text", ["-DX=2"])) is None
    (kept,) = folder.iterdir()
    assert (kept.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


@given(st.data())
def test_one_altered_byte_makes_it_nothing(data: st.DataObject) -> None:
    packed = objects.pack(MADE, KEY)
    at = data.draw(st.integers(0, len(packed) - 1))
    other = data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r".+"):
        objects.unpack(packed[:at] + bytes([packed[at] ^ other]) + packed[at + 1 :], KEY)


@given(st.integers(0, len(objects.pack(MADE, KEY)) - 1))
def test_a_part_of_it_is_nothing(size: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        objects.unpack(objects.pack(MADE, KEY)[:size], KEY)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_may_write_never_goes_into_the_kernel(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "objects"
    objects.keep(folder, KEY, MADE)
    (kept,) = folder.iterdir()
    kept.chmod(mode)
    assert objects.find(folder, KEY) is None
    kept.chmod(0o600)
    folder.chmod(mode | 0o111)
    assert objects.find(folder, KEY) is None
    folder.chmod(0o700)
    assert objects.find(folder, KEY) == MADE


def test_no_place_to_keep_it_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "objects").touch()
    objects.keep(tmp_path / "objects", KEY, MADE)
    assert objects.find(tmp_path / "objects", KEY) is None
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


def test_some_former_releases_are_kept(tmp_path: Path) -> None:
    keys = [objects.key_of(str(number), []) for number in range(objects.KEPT + 2)]
    for key in keys:
        objects.keep(tmp_path, key, MADE)
    assert len(list(tmp_path.iterdir())) == objects.KEPT
    assert objects.find(tmp_path, keys[-1]) == MADE
