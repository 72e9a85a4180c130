"""Two agents on one node: the second one is told which the first is; one that is dead is in nobody's way."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api import agent
from federation.errors import Conflict, InvalidInput
from nodeagent import lock

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nodeagent.lock import alone
with alone(Path(sys.argv[1]), Path(sys.argv[2]), datetime(2026, 1, 1, 12, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(state_dir: Path, pin_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another agent's process, which has the lock."""
    words = [sys.executable, "-c", HOLD, str(state_dir), str(pin_dir)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def pin_dir() -> Iterator[Path]:
    """A node's folder on the real bpffs."""
    if os.geteuid() != 0 or not Path("/sys/fs/bpf").is_mount():
        pytest.skip("root and a bpffs are needed")
    folder = Path(f"/sys/fs/bpf/cwt{uuid.uuid4().hex[:6]}")
    yield folder
    for path in folder.iterdir() if folder.exists() else ():
        path.unlink()
    if folder.exists():
        folder.rmdir()


def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "one", tmp_path / "other"


def test_the_second_agent_of_a_state_directory_is_told_who_the_first_is(tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    with holding(tmp_path, pins) as first, pytest.raises(Conflict) as caught, lock.alone(tmp_path, pins, NOW):
        pass
    for part in (f"process {first.pid},", "since 2026-01-01T12:00:00", f"--state-dir {tmp_path}"):
        assert part in caught.value.message
    assert "stop that one" in caught.value.hint


def test_two_state_directories_with_one_folder_of_pins_collide(tmp_path: Path, pin_dir: Path) -> None:
    one, other = two(tmp_path)
    with holding(one, pin_dir) as first:
        with pytest.raises(Conflict) as caught, lock.alone(other, pin_dir, NOW):
            pass
        assert f"process {first.pid}," in caught.value.message
        assert f"--state-dir {one}" in caught.value.message
        assert str(pin_dir) in caught.value.message
        with lock.alone(other, pin_dir.with_name(f"{pin_dir.name}x"), NOW):
            pass
    pin_dir.with_name(f"{pin_dir.name}x").joinpath(lock.LINK).unlink()
    pin_dir.with_name(f"{pin_dir.name}x").rmdir()


def test_the_lock_of_an_agent_that_was_killed_blocks_nobody(tmp_path: Path, pin_dir: Path) -> None:
    with holding(tmp_path, pin_dir) as first:
        first.kill()
        first.wait()
        with lock.alone(tmp_path, pin_dir, NOW):
            assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()
            assert json.loads(os.readlink(pin_dir / lock.LINK))["pid"] == os.getpid()
    with lock.alone(tmp_path, pin_dir, NOW):
        pass


def test_a_holder_that_has_said_nothing_yet_is_a_conflict_all_the_same(tmp_path: Path) -> None:
    with holding(tmp_path, tmp_path / "pins"):
        (tmp_path / lock.FILE).write_text("")
        with pytest.raises(Conflict, match="not said which yet"), lock.alone(tmp_path, tmp_path / "p", NOW):
            pass


def test_a_state_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"), lock.alone(tmp_path / "x", tmp_path, NOW):
        pass


def test_an_agent_that_is_refused_has_made_and_touched_nothing(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        f'server = "http://127.0.0.1:1"\ncluster = "dc1"\nnode = "n1"\npin_dir = "{tmp_path}/pins"\n'
    )
    (tmp_path / "credential").write_text("secret\n")
    (tmp_path / "credential").chmod(0o600)
    with holding(tmp_path, tmp_path / "pins") as first, pytest.raises(Conflict) as caught:
        agent.run(tmp_path)
    assert f"process {first.pid}," in caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.lock", "agent.toml", "credential"]
