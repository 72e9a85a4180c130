"""The last state on a relay's disk: a whole one (`state.json`, as an agent's cache), and after it a journal of what came since.

What a relay tells its nodes stands in the journal before, so that a relay that was killed and comes back while the control plane is away is never behind
its own nodes. A journal is named by the revision that it begins at: whole states and journals form a chain, and whatever is torn
ends it at the last transaction that is whole.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from controlplane.hub import Held, held
from federation import wire
from federation.errors import CausewayError, InvalidInput
from federation.resources.metadata import NO_CLUSTER, ObjectKey
from nodeagent.control import cache
from nodeagent.control.packed import Packed
from nodeagent.control.replica import Replica, State

LOG = structlog.get_logger("relay")
STATE, JOURNAL = "state.json", "journal-{}.ndjson"
LEAST = 4 << 20
"""Bytes of journal from which on a whole state is written again."""


class Disk:
    """Of one relay."""

    def __init__(self, folder: Path) -> None:
        self.fault = ""
        """Why what came last is not on disk; empty: it is."""
        self._folder = folder
        self._journal: BinaryIO | None = None
        self._size = 0
        self._writing = asyncio.Lock()

    def load(self) -> State:
        """The last state; an empty one when there is none that can be used."""
        state, wrong = cache.load(self._folder / STATE)
        if wrong:
            LOG.warning("state was not used", detail=wrong)
        if not state.revision:
            return state
        replica = Replica(state)
        for message in (wire.Begin("resume", state.revision), wire.InSync(state.revision)):
            replica.take(message)  # journals go on where the state ends
        while (path := self._path(replica.state.revision)).exists():
            before = replica.state.revision
            _replay(replica, path)
            if replica.state.revision == before:
                break
        return replica.state

    @property
    def is_due(self) -> bool:
        """Whether a whole state is to be written."""
        return self._journal is None or self._size > LEAST

    def note(self, lines: Iterable[bytes], revision: int) -> None:
        """Put a transaction down. When the disk refuses, nothing is put down until a whole state was: a journal has no holes."""
        if self._journal is None:
            return
        text = b"".join((*lines, wire.encode(wire.Commit(revision))))
        try:
            self._journal.write(text)
            self._journal.flush()
            self._size += len(text)
        except OSError as error:
            self._fail(f"the journal was not written: {error.strerror}")
            self._close()

    async def save(self, now: Callable[[], tuple[Iterable[Held], int]]) -> None:
        """Write a whole state: what `now` gives, objects and revision, when it is its turn. Raises Unavailable when the disk refuses."""
        async with self._writing:
            objects, revision = now()
            documents = {(o.key.kind, o.key.path): o.document for o in objects if o.document is not None}
            self._begin(revision)
            state = State(revision=revision, documents=documents)
            try:
                await asyncio.to_thread(cache.save, self._folder / STATE, state)
            except CausewayError as error:
                self._fail(error.message)
                self._close()
                raise
            self.fault = ""
            for path in self._folder.glob(JOURNAL.format("*")):
                if path != self._path(revision):
                    path.unlink(missing_ok=True)

    def _begin(self, revision: int) -> None:
        """A journal after this revision: what follows while the whole state is being written stands there."""
        self._close()
        try:
            descriptor = os.open(self._path(revision), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._journal, self._size = os.fdopen(descriptor, "wb"), 0
        except OSError as error:
            self._fail(f"no journal: {error.strerror}")

    def _fail(self, said: str) -> None:
        if said != self.fault:
            LOG.error("state was not kept", detail=said)
        self.fault = said

    def _close(self) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.close()
            self._journal = None

    def close(self) -> None:
        """No more is put down."""
        self._close()

    def _path(self, revision: int) -> Path:
        return self._folder / JOURNAL.format(revision)


def objects_of(state: State) -> list[Held]:
    """A state as a hub holds it."""
    made = []
    for document in state.documents.values():
        whole = document.whole() if isinstance(document, Packed) else dict(document)
        made.append(Held(key_of(whole), whole, wire.encode(wire.Upsert(whole))))
    return made


def held_of(message: wire.Upsert | wire.Delete) -> Held:
    """A change as a hub holds it. Raises InvalidInput when it names no object."""
    if isinstance(message, wire.Delete):
        return held(_key(message.kind, message.path), None)
    document = dict(message.document)
    return Held(key_of(document), document, wire.encode(message))


def key_of(document: dict[str, object]) -> ObjectKey:
    """The key of a document, also of a kind that is not known here. Raises InvalidInput."""
    kind, meta = document.get("kind"), document.get("metadata")
    parts = [meta.get(p, "") for p in ("cluster", "namespace", "name")] if isinstance(meta, dict) else []
    if not isinstance(kind, str) or not parts or not all(isinstance(p, str) for p in parts) or not parts[2]:
        raise InvalidInput(f"an object of the stream has no kind or no name: {str(document)[:80]}")
    return ObjectKey(kind, *parts)


def _key(kind: str, path: str) -> ObjectKey:
    """The inverse of `ObjectKey.path`. Raises InvalidInput."""
    match path.split("/"):
        case [name]:
            return ObjectKey(kind, "", "", name)
        case [cluster, name]:
            return ObjectKey(kind, cluster, "", name)
        case [cluster, namespace, name]:
            return ObjectKey(kind, "" if cluster == NO_CLUSTER else cluster, namespace, name)
    raise InvalidInput(f"not the path of an object: {path[:80]!r}")


def _replay(replica: Replica, path: Path) -> None:
    """As far as it is whole."""
    with suppress(OSError, CausewayError), path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            replica.take(wire.decode(line))
