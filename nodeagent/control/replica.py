"""The agent's copy of what the control plane lets it see. Pure: messages in, whole states out, documents to resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from federation import wire
from federation.errors import CausewayError, InvalidInput
from federation.resources.codec import decode
from federation.resources.metadata import NO_CLUSTER, AnyResource
from nodeagent.control.packed import Packed
from nodeagent.drivers import ObjectReport

Key = tuple[str, str]
"""(kind, path) of a document."""
Document = Mapping[str, Any]
UNREAD_LIMIT = 20
"""Lines kept for people; more of them say nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One complete state: documents by (kind, path), as of `revision`."""

    revision: int = 0
    documents: Mapping[Key, Document] = field(default_factory=dict)
    """The same object as in the state before, when no document has changed."""
    unread: tuple[str, ...] = ()
    """Lines of the stream that named no object. Something is missing, nobody knows what: only a snapshot heals that."""

    @property
    def resume_from(self) -> int | None:
        """What to ask the control plane for: changes since a revision, or (None) a snapshot."""
        return None if self.unread else self.revision or None


class Replica:
    """Applies the stream's messages; a transaction shows as a whole at its end."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._working = dict(state.documents)
        self._unread = list(state.unread)
        self._mentioned: set[Key] | None = None
        self._is_changed = False

    def take(self, message: wire.Message) -> State | None:
        """The new state when the message completed one."""
        match message:
            case wire.Begin(mode, _):
                self._working, self._is_changed = dict(self.state.documents), False
                self._mentioned = set() if mode == "snapshot" else None
                self._unread = [] if mode == "snapshot" else list(self.state.unread)
            case wire.Upsert(document):
                self._upsert(document)
            case wire.Delete(kind, path):
                self._is_changed |= self._working.pop((kind, path), None) is not None
                if self._mentioned is not None:
                    self._mentioned.discard((kind, path))
            case wire.InSync(revision):
                if self._mentioned is not None:
                    for key in self._working.keys() - self._mentioned:
                        del self._working[key]
                        self._is_changed = True
                    self._mentioned = None
                return self._complete(revision)
            case wire.Commit(revision):
                return self._complete(revision)
        return None

    def _upsert(self, document: Document) -> None:
        try:
            key = key_of(document)
        except InvalidInput as error:
            if error.message not in self._unread and len(self._unread) < UNREAD_LIMIT:
                self._unread.append(error.message)
            return
        packed = Packed.of(document)
        if self._working.get(key) != packed:
            self._working[key] = packed
            self._is_changed = True
        if self._mentioned is not None:
            self._mentioned.add(key)

    def _complete(self, revision: int) -> State:
        documents = dict(self._working) if self._is_changed else self.state.documents
        self._is_changed = False
        self.state = State(revision=revision, documents=documents, unread=tuple(self._unread))
        return self.state


class Reader:
    """Documents to resources. A document that has not changed is not decoded again."""

    def __init__(self) -> None:
        self.resources: dict[Key, AnyResource] = {}
        """All that can be read."""
        self.changed: dict[Key, tuple[AnyResource | None, AnyResource | None]] = {}
        """By the last `follow`: what it was and what it is; None: not there, or not readable."""
        self._documents: dict[Key, Document] = {}
        self._unreadable: dict[Key, ObjectReport] = {}

    def follow(self, state: State) -> list[ObjectReport]:
        """Take a state. The faults: what this agent cannot read is left out and named, never the end of the agent."""
        self.changed = {}
        for key, document in state.documents.items():
            if self._documents.get(key) is not document:
                self._documents[key] = document
                self._take(key, _read(key, document))
        if len(self._documents) != len(state.documents):
            for key in self._documents.keys() - state.documents.keys():
                del self._documents[key]
                self._take(key, None)
        faults = [
            ObjectReport(key="stream", is_ok=False, reason="unreadable", message=line)
            for line in state.unread
        ]
        return sorted([*faults, *self._unreadable.values()], key=lambda fault: (fault.key, fault.message))

    def _take(self, key: Key, found: AnyResource | ObjectReport | None) -> None:
        before = self.resources.pop(key, None)
        self._unreadable.pop(key, None)
        if isinstance(found, ObjectReport):
            self._unreadable[key] = found
            found = None
        elif found is not None:
            self.resources[key] = found
        self.changed[key] = (before, found)


def _read(key: Key, document: Document) -> AnyResource | ObjectReport:
    try:
        return decode(document.whole() if isinstance(document, Packed) else document, is_trusted=True)
    except CausewayError as error:
        return ObjectReport(
            key=f"{key[0]} {key[1]}", is_ok=False, reason="unreadable", message=_one_line(error)
        )


def _one_line(error: CausewayError) -> str:
    said = "; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in error.faults)
    return f"{error.message} ({said})" if said else error.message


def key_of(document: Document) -> Key:
    """(kind, path) of a document. Raises InvalidInput when it does not say."""
    kind = document.get("kind")
    if not isinstance(kind, str) or not kind:
        raise InvalidInput(f"an object of the stream has no kind: {str(dict(document))[:80]}")
    return kind, path_of(document)


def path_of(document: Document) -> str:
    """`ObjectKey.path` of a document. Raises InvalidInput when it has no name."""
    meta = document.get("metadata")
    parts = [meta.get(p, "") for p in ("cluster", "namespace", "name")] if isinstance(meta, Mapping) else []
    if not parts or not all(isinstance(part, str) for part in parts) or not parts[2]:
        raise InvalidInput(f"a {document.get('kind')} of the stream has no name: {str(dict(document))[:80]}")
    cluster, namespace, name = parts
    if namespace:
        return f"{cluster or NO_CLUSTER}/{namespace}/{name}"
    return f"{cluster}/{name}" if cluster else name
