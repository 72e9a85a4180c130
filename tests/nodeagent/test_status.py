"""The agent's status file: whole at any moment, and honest about an agent that is gone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.errors import InvalidInput, NotFound, Unavailable
from nodeagent.status import AgentStatus, StatusBook, birth_of, load_status, read_status, write_status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STATUS = AgentStatus(
    pid=os.getpid(),
    process_birth=birth_of(os.getpid()),
    cluster="dc1",
    node="n1",
    started=NOW,
    connected_since=NOW,
    last_error="it was away",
    last_error_at=NOW,
    revision_wanted=8,
    revision_enforced=7,
    drifts=2,
    last_drift="map rules: entries: 1 altered",
    last_drift_at=NOW,
    faults=(("route 10.0.0.0/8", "driver", "no buffer space"),),
    drivers={"policy": "EbpfDriver"},
    cache="ok",
)


@pytest.mark.parametrize(
    "status", [STATUS, replace(STATUS, connected_since=None, last_error_at=None, faults=())]
)
def test_a_status_is_read_back_as_it_was_written(tmp_path: Path, status: AgentStatus) -> None:
    write_status(tmp_path, status)
    assert load_status(tmp_path) == status
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600


def test_without_an_agent_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no agent has run") as caught:
        load_status(tmp_path)
    assert "causeway agent" in caught.value.hint


def test_a_dead_agent_is_told_from_a_running_one_with_what_it_enforced_last(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_status(tmp_path, replace(STATUS, pid=ended.pid, process_birth="1"))
    with pytest.raises(Unavailable, match=f"{ended.pid}.*not running.*revision 7"):
        load_status(tmp_path)
    assert read_status(tmp_path).revision_enforced == 7


def test_another_process_with_the_number_of_a_dead_agent_is_not_the_agent(tmp_path: Path) -> None:
    write_status(tmp_path, replace(STATUS, process_birth="1"))
    with pytest.raises(Unavailable, match="not running"):
        load_status(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b"null",
        b'{"format": 99}',
        b'{"format": 1}',
        json.dumps({"format": 1, "pid": 1}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_status_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"not an agent's status") as caught:
        load_status(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": "x"},
        {"pid": 0},
        {"pid": 2**80},
        {"started": None},
        {"started": "noon"},
        {"faults": [["a"]]},
        {"faults": 3},
        {"extra": 1},
    ],
)
def test_a_status_with_one_wrong_field_is_a_clear_error(tmp_path: Path, wrong: dict[str, object]) -> None:
    write_status(tmp_path, STATUS)
    content = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**content, **wrong}))
    with pytest.raises((InvalidInput, Unavailable)):
        load_status(tmp_path)


def test_a_folder_in_the_place_of_the_file_is_a_clear_error_for_both_sides(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    (tmp_path / "status.json" / "x").touch()
    with pytest.raises(InvalidInput, match="directory"):
        load_status(tmp_path)
    with pytest.raises(Unavailable, match="was not written"):
        write_status(tmp_path, STATUS)


def test_a_book_keeps_what_each_source_blames_until_that_source_says_otherwise() -> None:
    seen: list[AgentStatus] = []
    book = StatusBook(STATUS, lambda: NOW, seen.append)
    assert book.blame("cache", (("cache", "unavailable", "full"),))
    assert not book.blame("cache", (("cache", "unavailable", "full"),))
    assert book.blame("round", (("policy", "driver", "no"),))
    assert [fault[0] for fault in book.status.faults] == ["cache", "policy"]
    assert book.blame("cache", ())
    assert [fault[0] for fault in seen[-1].faults] == ["policy"]
    book.went_wrong("cut", connected_since=None)
    assert (seen[-1].last_error, seen[-1].last_error_at, seen[-1].connected_since) == ("cut", NOW, None)
