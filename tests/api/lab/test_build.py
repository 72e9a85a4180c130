"""Tear-down touches what bears a lab's name, and nothing else."""

from pathlib import Path

import pytest

from api.lab import build
from federation.errors import InvalidInput


@pytest.mark.parametrize("name", ["", "..", ".", "*", "dc1-n1", "/"])
def test_tear_down_refuses_a_name_that_is_no_labs(name: str) -> None:
    """`dc1-n1` is how a real agent's pins are called."""
    with pytest.raises(InvalidInput):
        build.down(name)


def test_a_folder_that_nobody_serves_from_has_no_control_plane(tmp_path: Path) -> None:
    assert build.control_planes(tmp_path) == []
