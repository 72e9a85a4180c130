"""Files and folders as people have them: every one is read, or there is a reason why not."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.input.files import MAX_BYTES, texts

NOBODY = 65534
"""The user who owns nothing, by Debian's number."""


def test_a_folder_is_read_by_name_with_those_in_it_and_only_documents(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "c.yml", "d.txt", "deep/e.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "folder.yaml" / "f.yaml").write_text("f")
    found = list(texts(str(tmp_path)))
    assert [Path(text.source).name for text in found] == ["a.json", "b.yaml", "c.yml", "e.yaml", "f.yaml"]
    assert not [text for text in found if text.fault]


def test_links_that_lead_in_circles_or_nowhere_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    found = {Path(text.source).name: text.fault for text in texts(str(tmp_path))}
    assert found == {
        "a.yaml": "",
        "gone.yaml": "No such file or directory",
        "self.yaml": "Too many levels of symbolic links",
    }


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert [text.fault for text in texts(str(tmp_path))] == ["it is neither a file nor a folder"]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach, in which the test is not root: nothing is closed to root."""
    place, me = Path(tempfile.mkdtemp(prefix="causeway-")), os.geteuid()
    place.chmod(0o777)
    try:
        if me == 0:
            os.seteuid(NOBODY)
        yield place
    finally:
        os.seteuid(me)
        shutil.rmtree(place)


def test_a_folder_that_is_closed_is_told(open_place: Path) -> None:
    (open_place / "closed").mkdir(mode=0)
    assert [text.fault for text in texts(str(open_place))] == ["Permission denied"]


@pytest.mark.parametrize(
    ("content", "text", "fault"),
    [
        (b"\xef\xbb\xbfa: 1\r\n", "a: 1\r\n", ""), ("a: 1".encode("utf-16"), "", "UTF-16 text: save it as UTF-8"), ("a: 1".encode("utf-16-be"), "\0a\0:\0 \0" + "1", ""), (b"a: 1\nb: \xe9\n", "", "line 2: not UTF-8 text: invalid continuation byte (byte 8)"), (b"", "", ""),
    ],
)  # fmt: skip
def test_a_file_is_utf8_text_or_refused(tmp_path: Path, content: bytes, text: str, fault: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    (found,) = texts(str(tmp_path / "x.yaml"))
    assert (found.text, found.fault) == (text, fault)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    (found,) = texts(str(tmp_path / "x.yaml"))
    assert found.fault == f"larger than {MAX_BYTES >> 20} MiB: split it"


def test_an_empty_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    assert "holds no .yaml" in next(texts(str(tmp_path))).fault
    assert next(texts(str(tmp_path / "x"))).fault == "No such file or directory"
    assert "null" in next(texts("a\0b")).fault
