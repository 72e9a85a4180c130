"""The last state on disk, so that an agent enforces at once though the control plane is away.

Two lines: a head with format and checksum, and the state. Whatever is wrong with the file or the disk, the agent starts: then
with nothing, from the control plane's snapshot.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from federation.errors import CausewayError, Unavailable
from nodeagent.control.packed import Packed
from nodeagent.control.replica import Key, State, key_of

FORMAT = 2
DOCUMENTS, END = b', "documents": [', "]}"
"""What stands before the documents, and after them. No text in JSON can look like the first: its quotes would be escaped."""


def load(path: Path) -> tuple[State, str]:
    """(state, what was wrong). A missing file is an empty state; one that cannot be used is moved aside, and said so."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return State(), ""
    except OSError as error:
        return State(), f"the cache {path} was not read ({error.strerror or error}): starting from a snapshot"
    try:
        return _state_of(raw), ""
    except (ValueError, KeyError, TypeError, RecursionError, CausewayError) as error:
        said = f"the cache was not usable ({error})"
    aside = path.with_suffix(".corrupt")
    try:
        path.replace(aside)
    except OSError as error:
        return State(), f"{said}, and stays where it is ({error.strerror}): starting from a snapshot"
    return State(), f"{said}: moved to {aside.name}, starting from a snapshot"


def peek(path: Path) -> State:
    """The state of a file that another process owns, which is left as it is; an empty one when it cannot be used."""
    try:
        return _state_of(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, RecursionError, CausewayError):
        return State()


def save(path: Path, state: State) -> None:
    """Write atomically (0600), file and folder flushed to disk. Raises Unavailable, the old file untouched, when the disk
    refuses."""
    seal = hashlib.sha256()
    for part in _parts(state):
        seal.update(part)
    head = json.dumps({"format": FORMAT, "sha256": seal.hexdigest()}).encode()
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(head + b"\n")
            file.writelines(_parts(state))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        hint = "free space there; until then a restarted agent starts from the older state"
        raise Unavailable(
            f"the cache {path.name} was not written: {error.strerror or error}", hint=hint
        ) from error
    finally:
        _forget(fresh)


def _parts(state: State) -> Iterator[bytes]:
    """The state as JSON, document by document: the whole text would be as much memory again."""
    facts = json.dumps({"revision": state.revision, "unread": state.unread})
    yield facts[:-1].encode() + DOCUMENTS
    for number, document in enumerate(state.documents.values()):
        yield b"," if number else b""
        yield Packed.of(document).raw
    yield END.encode()


def _state_of(raw: bytes) -> State:
    head, _, body = raw.partition(b"\n")
    said: Any = json.loads(head)
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    if said != {"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}:
        raise ValueError("the checksum does not match")
    facts, _, documents = body.partition(DOCUMENTS)
    content = json.loads(facts + b"}")
    revision, unread = content["revision"], content["unread"]
    is_whole = (
        type(revision) is int and isinstance(unread, list) and all(isinstance(line, str) for line in unread)
    )
    if not is_whole:
        raise TypeError("it does not hold a state")
    text = documents.decode("utf-8", "surrogatepass")
    return State(revision=revision, documents=dict(_read(text)), unread=tuple(unread))


def _read(text: str) -> Iterator[tuple[Key, Packed]]:
    """Documents one by one: all of them as Python's objects would be seven times their text."""
    at, decoder = 0, json.JSONDecoder()
    while at + len(END) != len(text) or not text.endswith(END):
        document, end = decoder.raw_decode(text, at)
        if not isinstance(document, dict):
            raise TypeError("it holds what is no document")
        yield key_of(document), Packed(text[at:end].encode("utf-8", "surrogatepass"))
        at = end + text.startswith(",", end)


def _flush_folder(folder: Path) -> None:
    """Make the new name last: without this a power cut may bring the old file back."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _forget(fresh: Path) -> None:
    """Give back the space of a file that was not finished."""
    try:
        fresh.unlink(missing_ok=True)
    except OSError:
        return  # the next write says what is wrong with it
