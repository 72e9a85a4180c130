"""The agent's copy of what the control plane lets it see. Pure: messages in, whole states out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federation import wire
from federation.errors import CausewayError
from federation.resources.codec import decode
from federation.resources.metadata import NO_CLUSTER, AnyResource


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One complete state: documents by (kind, path), as of `revision`."""

    revision: int = 0
    documents: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


class Replica:
    """Applies the stream's messages; a transaction shows as a whole at its end."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._working = dict(state.documents)
        self._mentioned: set[tuple[str, str]] | None = None

    def take(self, message: wire.Message) -> State | None:
        """The new state when the message completed one."""
        match message:
            case wire.Begin(mode, _):
                self._working = dict(self.state.documents)
                self._mentioned = set() if mode == "snapshot" else None
                return None
            case wire.Upsert(document):
                key = (str(document["kind"]), path_of(document))
                self._working[key] = document
                if self._mentioned is not None:
                    self._mentioned.add(key)
                return None
            case wire.Delete(kind, path):
                self._working.pop((kind, path), None)
                if self._mentioned is not None:
                    self._mentioned.discard((kind, path))
                return None
            case wire.InSync(revision):
                if self._mentioned is not None:
                    self._working = {key: self._working[key] for key in self._mentioned}
                    self._mentioned = None
                return self._complete(revision)
            case wire.Commit(revision):
                return self._complete(revision)

    def _complete(self, revision: int) -> State:
        self.state = State(revision=revision, documents=dict(self._working))
        return self.state


def path_of(document: Mapping[str, Any]) -> str:
    """`ObjectKey.path` of a document."""
    meta = document["metadata"]
    cluster, namespace = meta.get("cluster", ""), meta.get("namespace", "")
    if namespace:
        return f"{cluster or NO_CLUSTER}/{namespace}/{meta['name']}"
    return f"{cluster}/{meta['name']}" if cluster else str(meta["name"])


def resources_of(documents: Iterable[Mapping[str, Any]]) -> tuple[list[AnyResource], list[tuple[str, str]]]:
    """(resources, faults): a document that this agent cannot read is left out and named, never the end of the agent."""
    resources: list[AnyResource] = []
    faults: list[tuple[str, str]] = []
    for document in documents:
        try:
            resources.append(decode(document, is_trusted=True))
        except CausewayError as error:
            faults.append((f"{document.get('kind')} {path_of(document)}", error.message))
    return resources, faults
