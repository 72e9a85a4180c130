"""The flows of the last windows on disk: lines of JSON in two files, of which the older is dropped when the newer is full."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE, OLDER = "flows.jsonl", "flows.1.jsonl"
MOST_BYTES = 4 << 20
"""Of each file."""
Line = Mapping[str, Any]


def append(state_dir: Path, lines: Sequence[Line], most_bytes: int = MOST_BYTES) -> None:
    """Write lines behind the others (0600). Raises OSError."""
    if not lines:
        return
    path = state_dir / FILE
    if path.exists() and path.stat().st_size >= most_bytes:
        path.replace(state_dir / OLDER)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
        file.write(text)


def lines_of(state_dir: Path) -> list[Line]:
    """All that is kept, oldest first. Raises OSError."""
    found: list[Line] = []
    for name in (OLDER, FILE):
        path = state_dir / name
        if path.exists():
            found += _parsed(path.read_text())
    return found


class Follower:
    """Reads on where it stopped, also when the file was begun anew."""

    def __init__(self, state_dir: Path) -> None:
        """From now on."""
        self._path = state_dir / FILE
        self._inode, self._at = self._end()
        self._rest = ""

    def more(self) -> Iterator[Line]:
        """What was written since. Raises OSError."""
        try:
            with self._path.open() as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._at, self._rest = inode, 0, ""
                file.seek(self._at)
                text = self._rest + file.read()
                self._at = file.tell()
        except FileNotFoundError:
            return
        whole, _, self._rest = text.rpartition("\n")
        yield from _parsed(whole)

    def _end(self) -> tuple[int, int]:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return facts.st_ino, facts.st_size


def _parsed(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # half of a line, of an agent that was killed
        if isinstance(content, dict):
            yield content
