"""The messages of the stream from the control plane to an agent: one JSON object a line.

A stream is: `begin`, any number of transactions (upserts and deletes, closed by `commit`), for ever. With
`mode="snapshot"` the first transaction holds all that the agent may see and is closed by `in_sync`: keys that it did
not mention are gone. With `mode="resume"` it holds what changed since the asked revision, and is closed by `in_sync` too.
A `commit` may be empty: its revision tells the agent that everything up to it has been seen (so the agent can
acknowledge it), and it is the keep-alive.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from federation.errors import InvalidInput

MAX_LINE = 64 << 20
"""Bytes: a document has 8 MiB at most where it is taken, and grows sixfold at most where every character is escaped."""
MAX_DEPTH = 120
"""Lists and objects inside each other: a document has 100 at most. What is read must be safe to walk by recursion."""
MAX_REVISION = 2**53


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)


@dataclass(frozen=True, slots=True)
class Begin:
    """First message: what follows is a snapshot or the changes since the revision asked for."""

    mode: Literal["snapshot", "resume"]
    revision: int


@dataclass(frozen=True, slots=True)
class Upsert:
    """`document` (kind, metadata, spec, status, as in REST) is the state of its object now."""

    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """The object is gone from this agent's view."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything up to `revision` that concerns this agent has been sent: act on it as a whole."""

    revision: int


@dataclass(frozen=True, slots=True)
class InSync:
    """As `Commit`, and the first transaction is complete: what it did not mention may be swept."""

    revision: int


@dataclass(frozen=True, slots=True)
class Trust:
    """What to trust from now on; comes only to who has said what it trusts. Between transactions, and no part of any."""

    bundle: str
    """Roots, in PEM."""
    issuer: str
    """Id of the authority that signs now: who has a certificate of another renews it."""


Message = Begin | Upsert | Delete | Commit | InSync | Trust


UPSERT_HEAD, UPSERT_TAIL = b'{"op":"upsert","object":', b"}\n"


def document_in(line: bytes) -> bytes:
    """The JSON of the document in an Upsert's line, as it was encoded once."""
    return line[len(UPSERT_HEAD) : -len(UPSERT_TAIL)]


def encode(message: Message) -> bytes:
    """One line, ending in a newline."""
    match message:
        case Begin(mode, revision):
            body: dict[str, Any] = {"op": "begin", "mode": mode, "revision": revision}
        case Upsert(document):
            body = {"op": "upsert", "object": document}
        case Delete(kind, path):
            body = {"op": "delete", "kind": kind, "path": path}
        case Commit(revision):
            body = {"op": "commit", "revision": revision}
        case InSync(revision):
            body = {"op": "in_sync", "revision": revision}
        case Trust(bundle, issuer):
            body = {"op": "trust", "bundle": bundle, "issuer": issuer}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line. Raises InvalidInput for anything else."""
    try:
        body = DECODER.decode(str(line, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not a line of JSON: {line[:80]!r}") from error
    may_be_deep = line.count(b"{") + line.count(b"[") > MAX_DEPTH
    message = None if may_be_deep and _is_deep(body) else _message(body)
    if message is None:
        raise InvalidInput(f"not a message of the stream: {line[:80]!r}")
    return message


def _message(body: Any) -> Message | None:
    match body:
        case {"op": "begin", "mode": "snapshot" | "resume" as mode, "revision": revision} if _is_one(
            revision
        ):
            return Begin(mode, revision)
        case {"op": "upsert", "object": dict(document)}:
            return Upsert(document)
        case {"op": "delete", "kind": str(kind), "path": str(path)}:
            return Delete(kind, path)
        case {"op": "commit", "revision": revision} if _is_one(revision):
            return Commit(revision)
        case {"op": "in_sync", "revision": revision} if _is_one(revision):
            return InSync(revision)
        case {"op": "trust", "bundle": str(bundle), "issuer": str(issuer)}:
            return Trust(bundle, issuer)
    return None


def _is_one(revision: Any) -> bool:
    return type(revision) is int and 0 <= revision <= MAX_REVISION


def _is_deep(body: Any) -> bool:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return any(isinstance(value, dict | list) for value in level)
