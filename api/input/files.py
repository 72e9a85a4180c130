"""Files, folders and standard input, as the texts that they hold: bounded, UTF-8, and every reason why one cannot be read."""

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from federation.errors import InvalidInput

MAX_BYTES = 128 * 1024 * 1024
"""Of one file. 100 MB of YAML take about half a minute and 1 GB of memory."""
MAX_LINE = 64 * 1024
"""Bytes of a line that is a document of its own."""
SUFFIXES = (".yaml", ".yml", ".json")
STANDARD_INPUT = "standard input"
OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


@dataclass(frozen=True, slots=True)
class Text:
    """What one file holds, or (`fault`) why it cannot be read."""

    source: str
    text: str = ""
    fault: str = ""


def texts(path: str) -> Iterator[Text]:
    """What a path stands for: `-` for standard input, a file, or a folder with all the documents below it, by name."""
    if path == "-":
        yield _read(STANDARD_INPUT, sys.stdin.buffer)
        return
    if not path:
        yield Text("''", fault="an empty name")
        return
    if not os.path.isdir(path):
        yield _text(path)
        return
    is_empty = True
    for found in _below(path):
        is_empty = False
        yield found
    if is_empty:
        yield Text(path, fault=f"the folder holds no {', '.join(SUFFIXES)} file")


def lines(path: str) -> Iterator[Text]:
    """The lines of a file, or of standard input for `-`, each by itself: one that cannot be read does not keep the others from it.
    Raises InvalidInput when the file cannot be opened."""
    try:
        file = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    with file:
        yield from _lines(file)


def _lines(file: IO[bytes]) -> Iterator[Text]:
    number = 0
    while content := file.readline(MAX_LINE + 1):
        number += 1
        source = f"line {number}"
        if len(content) > MAX_LINE:
            while content and not content.endswith(b"\n"):
                content = file.readline(MAX_LINE)
            yield Text(source, fault=f"longer than {MAX_LINE >> 10} KiB")
            continue
        try:
            yield Text(source, content.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield Text(source, fault=f"not UTF-8 text: {error.reason} (byte {error.start})")


def _below(folder: str) -> Iterator[Text]:
    """The documents' files of a folder and of those in it. Links to folders are not followed: they may lead back."""
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)
            if name.endswith(SUFFIXES) and not os.path.isdir(file):
                yield _text(file, is_found=True)
    for error in closed:
        yield Text(str(error.filename), fault=error.strerror or str(error))


def _text(path: str, *, is_found: bool = False) -> Text:
    """One file. One that was found in a folder must be a plain file: a pipe there might never end."""
    try:
        if is_found and not stat.S_ISREG(os.stat(path).st_mode):
            return Text(path, fault="it is neither a file nor a folder")
        with Path(path).open("rb") as file:
            return _read(path, file)
    except (OSError, ValueError) as error:
        return Text(path, fault=getattr(error, "strerror", None) or str(error))


def _read(source: str, file: IO[bytes]) -> Text:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        return Text(source, fault=f"larger than {MAX_BYTES >> 20} MiB: split it")
    for mark, name in OTHER_ENCODINGS:
        if content.startswith(mark):
            return Text(source, fault=f"{name} text: save it as UTF-8")
    try:
        return Text(source, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Text(source, fault=f"line {line}: not UTF-8 text: {error.reason} (byte {error.start})")
