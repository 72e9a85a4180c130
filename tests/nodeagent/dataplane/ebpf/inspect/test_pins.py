"""Pins are opened by who may, and what is not there is said."""

from pathlib import Path

import pytest

from federation.errors import Forbidden, NotFound
from nodeagent.dataplane.ebpf.inspect.pins import generations, must_have_rights, open_pins
from nodeagent.dataplane.ebpf.loader import PROGRAMS


@pytest.mark.parametrize("held", ["0000000000000000", "0000000000003fff"])
def test_without_rights_the_error_says_what_to_do(tmp_path: Path, held: str) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t{held}\n")
    with pytest.raises(Forbidden, match="may not read the kernel's maps") as caught:
        must_have_rights(status)
    assert "root" in caught.value.hint


@pytest.mark.parametrize("held", ["0000008000000000", "0000000000200000", "000001ffffffffff"])
def test_root_or_a_capability_will_do(tmp_path: Path, held: str) -> None:
    status = tmp_path / "status"
    status.write_text(f"CapEff:\t{held}\n")
    must_have_rights(status)


def test_half_a_generation_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not there"):
        generations(tmp_path / "nowhere")
    (tmp_path / "0123").mkdir()
    with pytest.raises(NotFound, match="holds no programs"):
        generations(tmp_path)


def test_the_pins_of_another_release_are_not_misread(tmp_path: Path) -> None:
    must_have_rights_or_skip()
    (tmp_path / "0123").mkdir()
    (tmp_path / "0123" / PROGRAMS[-1]).touch()
    with pytest.raises(NotFound, match=r"another release's \(0123; this one's are [0-9a-f]{12}\)"):
        open_pins(tmp_path)


def must_have_rights_or_skip() -> None:
    try:
        must_have_rights()
    except Forbidden:
        pytest.skip("root is needed to open pins")
