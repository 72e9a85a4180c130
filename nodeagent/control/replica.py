"""The agent's copy of what the control plane lets it see. Pure: messages in, whole states out, documents to resources."""

import sys
from collections.abc import Iterator, Mapping
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
UNKEPT = frozenset({"Identity"})
"""Kinds whose resources are not kept: they are tens of thousands, and who asks for one keeps its labels. What one was is read again."""
Pair = tuple[AnyResource | None, AnyResource | None]
"""What a resource was, and what it is; None: not there, or not readable."""


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
    """Applies the messages of one stream to the state before it; a transaction shows as a whole at its end. A stream that does not go as
    `federation.wire` says, so that a part of it might show as the whole, is refused."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._reached: int | None = None
        """The revision that the stream has come to; None: it has not begun."""
        self._is_first = True
        """The first transaction is not complete yet."""
        self._working = dict(state.documents)
        self._unread = list(state.unread)
        self._mentioned: set[Key] | None = None
        self._is_changed = False

    def take(self, message: wire.Message) -> State | None:
        """The new state when the message completed one. Raises InvalidInput for a message that cannot stand where it stands."""
        match message:
            case wire.Begin():
                self._begin(message)
            case wire.Upsert(document):
                self._must_have_begun()
                self._upsert(document)
            case wire.Delete(kind, path):
                self._must_have_begun()
                self._is_changed |= self._working.pop((kind, path), None) is not None
                if self._mentioned is not None:
                    self._mentioned.discard((kind, path))
            case wire.InSync(revision):
                return self._complete(revision)
            case wire.Commit(revision):
                if self._is_first:
                    raise InvalidInput("the stream commits before its first transaction is complete")
                return self._complete(revision)
        return None

    def _begin(self, message: wire.Begin) -> None:
        is_snapshot = message.mode == "snapshot"
        if not is_snapshot and self.state.resume_from is None:
            raise InvalidInput("the stream resumes where there is nothing to resume from")
        self._reached = message.revision if is_snapshot else self.state.revision
        self._is_first = True
        self._working, self._is_changed = dict(self.state.documents), False
        self._mentioned = set() if is_snapshot else None
        self._unread = [] if is_snapshot else list(self.state.unread)

    def _must_have_begun(self) -> int:
        if self._reached is None:
            raise InvalidInput("the stream does not begin with its beginning")
        return self._reached

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
        if revision < (reached := self._must_have_begun()):
            raise InvalidInput(f"the stream goes back from revision {reached} to {revision}")
        self._reached, self._is_first = revision, False
        if self._mentioned is not None:
            for key in self._working.keys() - self._mentioned:
                del self._working[key]
                self._is_changed = True
            self._mentioned = None
        documents = dict(self._working) if self._is_changed else self.state.documents
        self._is_changed = False
        self.state = State(revision=revision, documents=documents, unread=tuple(self._unread))
        return self.state


class Reader:
    """Documents to resources. A document that has not changed is not decoded again."""

    def __init__(self) -> None:
        self.resources: dict[Key, AnyResource] = {}
        """All that can be read, but those of kinds that are not kept."""
        self._documents: Mapping[Key, Document] = {}
        self._unreadable: dict[Key, ObjectReport] = {}

    def follow(self, state: State) -> Iterator[Pair]:
        """Take a state: what has changed, one by one, so that a first state's resources need not all be there at once. To be read to the
        end."""
        before = self._documents
        for key, document in state.documents.items():
            known = before.get(key)
            if known is not document:
                yield self._take(key, known, _read(key, document))
        for key in before.keys() - state.documents.keys():
            yield self._take(key, before[key], None)
        self._documents = state.documents

    def faults(self, state: State) -> list[ObjectReport]:
        """What this agent cannot read of a state that it took: it is left out and named, never the end of the agent."""
        faults = [
            ObjectReport(key="stream", is_ok=False, reason="unreadable", message=line)
            for line in state.unread
        ]
        return sorted([*faults, *self._unreadable.values()], key=lambda fault: (fault.key, fault.message))

    def _take(self, key: Key, known: Document | None, found: AnyResource | ObjectReport | None) -> Pair:
        before = self.resources.pop(key, None)
        if key[0] in UNKEPT and known is not None and key not in self._unreadable:
            read = _read(key, known)
            before = None if isinstance(read, ObjectReport) else read
        self._unreadable.pop(key, None)
        if isinstance(found, ObjectReport):
            self._unreadable[key] = found
            return before, None
        if found is not None and key[0] not in UNKEPT:
            self.resources[key] = found
        return before, found


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
    return sys.intern(kind), path_of(document)


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
