"""The last state on disk, so that an agent enforces at once though the control plane is away."""

import hashlib
import json
import os
from pathlib import Path

from federation.errors import Unavailable
from nodeagent.replica import State, path_of

FORMAT = 1


def load(path: Path) -> tuple[State, str]:
    """(state, what was wrong). A missing file is an empty state; a corrupt one is moved aside, and said so."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return State(), ""
    try:
        head, _, body = raw.partition(b"\n")
        if json.loads(head) != {"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}:
            raise ValueError("the checksum does not match")
        content = json.loads(body)
        documents = {(d["kind"], path_of(d)): d for d in content["documents"]}
        return State(revision=int(content["revision"]), documents=documents), ""
    except (ValueError, KeyError, TypeError) as error:
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        return State(), f"the cache was corrupt ({error}): moved to {aside.name}, starting from a snapshot"


def save(path: Path, state: State) -> None:
    """Write atomically (0600, flushed to disk). Raises Unavailable, the old file untouched, when the disk refuses."""
    body = json.dumps({"revision": state.revision, "documents": list(state.documents.values())}).encode()
    head = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(head + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        hint = "free space there; until then a restarted agent starts from the older state"
        raise Unavailable(f"the cache {path.name} was not written: {error.strerror}", hint=hint) from error
