"""The cache: whatever is wrong with file or disk, the agent starts and the old state stays whole."""

import errno
import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federation.errors import Unavailable
from nodeagent.control import cache
from nodeagent.control.replica import State

DOCUMENT = {"kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.0.0.0/16"]}}
STATE = State(revision=7, documents={("Cluster", "dc1"): DOCUMENT}, unread=("a line",))


def signed(content: Any, version: Any = cache.FORMAT) -> bytes:
    body = json.dumps(content).encode()
    head = {"format": version, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.json"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("root is needed to mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "causeway-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_state_comes_back_as_it_was_saved(path: Path) -> None:
    cache.save(path, STATE)
    assert cache.load(path) == (STATE, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["cache.json"]


def test_no_cache_is_an_empty_state_and_nothing_wrong(path: Path) -> None:
    assert cache.load(path) == (State(), "")


WHOLE = {"revision": 1, "documents": [DOCUMENT], "unread": []}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{ half",
        b"null\nnull",
        b"[" * 200_000,
        random.Random(1).randbytes(5000),
        signed(WHOLE)[:-9],
        signed(WHOLE).replace(b"10.0.0.0", b"10.9.0.0"),
        signed(WHOLE, version=1),
        signed(WHOLE, version=99),
        signed(WHOLE, version=None),
        signed([]),
        signed(None),
        signed({}),
        signed({**WHOLE, "revision": "1"}),
        signed({**WHOLE, "revision": True}),
        signed({**WHOLE, "documents": {}}),
        signed({**WHOLE, "documents": ["x"]}),
        signed({**WHOLE, "documents": [{}]}),
        signed({**WHOLE, "documents": [{"kind": "Cluster", "metadata": []}]}),
        signed({**WHOLE, "unread": "x"}),
        signed({**WHOLE, "unread": [3]}),
    ],
)  # fmt: skip
def test_what_is_no_cache_is_put_aside_and_survived(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    state, wrong = cache.load(path)
    assert state == State()
    assert "starting from a snapshot" in wrong
    assert (path.parent / "cache.corrupt").read_bytes() == content
    assert not path.exists()
    cache.save(path, STATE)
    assert cache.load(path) == (STATE, "")


@pytest.mark.parametrize("length", range(0, len(signed(WHOLE)), 7))
def test_a_cache_cut_anywhere_is_survived(path: Path, length: int) -> None:
    path.write_bytes(signed(WHOLE)[:length])
    assert cache.load(path)[0] == State()
    assert (path.parent / "cache.corrupt").exists()


def test_a_corrupt_cache_that_cannot_be_put_aside_is_survived_too(path: Path) -> None:
    path.write_bytes(b"x")
    (path.parent / "cache.corrupt").mkdir()
    state, wrong = cache.load(path)
    assert (state, "stays where it is" in wrong) == (State(), True)


def test_a_cache_that_cannot_be_read_is_survived_and_named(path: Path) -> None:
    path.mkdir()
    state, wrong = cache.load(path)
    assert state == State()
    assert os.strerror(errno.EISDIR) in wrong
    through_a_file = path.parent / "file"
    through_a_file.touch()
    assert os.strerror(errno.ENOTDIR) in cache.load(through_a_file / "cache.json")[1]
    loop = path.parent / "loop.json"
    loop.symlink_to(loop)
    assert os.strerror(errno.ELOOP) in cache.load(loop)[1]


def test_a_full_disk_is_said_and_leaves_the_old_cache_and_no_rest(small_disk: Path) -> None:
    path = small_disk / "cache.json"
    cache.save(path, STATE)
    before = path.read_bytes()
    large = State(revision=8, documents={("Cluster", "c"): {**DOCUMENT, "spec": {"x": "y" * 200_000}}})
    with pytest.raises(Unavailable, match=os.strerror(errno.ENOSPC)) as caught:
        cache.save(path, large)
    assert "free space" in caught.value.hint
    assert path.read_bytes() == before
    assert [entry.name for entry in small_disk.iterdir()] == ["cache.json"]
    cache.save(path, State(revision=9))
    assert cache.load(path) == (State(revision=9), "")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="was not written"):
        cache.save(tmp_path / "gone" / "cache.json", STATE)


def test_texts_that_look_like_the_files_own_marks_come_back_too(path: Path) -> None:
    tricky = ', "documents": []}'
    named = {**DOCUMENT, "spec": {"said": [tricky, "\ud800", "é\n", {"documents": []}]}}
    state = State(revision=1, documents={("Cluster", "dc1"): named}, unread=(tricky, '", "documents": [{'))
    cache.save(path, state)
    assert cache.load(path) == (state, "")
