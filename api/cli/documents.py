"""Documents, as commands take them: of files, folders and standard input, YAML or JSON. What cannot be read is told all at once."""

import gc
from collections.abc import Iterable, Iterator
from typing import Any

from api.input.files import Text, texts
from api.input.json_text import JsonError, json_documents
from api.input.yaml_text import YamlError, yaml_documents
from federation.errors import Fault, InvalidInput
from federation.identities import CLUSTER_LABEL
from federation.kinds.registry import kind_of
from federation.resources.codec import decode
from federation.resources.metadata import Scope

RARE = (100_000, 50, 100)
"""When garbage is looked for. Documents are a large heap that stays: by Python's own numbers half the time goes into walking it."""
HINT = "name files, folders, or - with -f"
Document = tuple[str, Any]
"""Where it was read (file and number, for people), and what it says."""


def documents(paths: Iterable[str]) -> list[Document]:
    """All documents, in order. Raises InvalidInput with every fault of every text, and when there is nothing at all."""
    gc.set_threshold(*RARE)
    found: list[Document] = []
    faults: list[Fault] = []
    for path in paths:
        for text in texts(path):
            found += _documents_of(text, faults)
    if faults:
        raise InvalidInput(f"{len(faults)} fault(s) in what was to be read; nothing was done", faults=faults)
    if all(document is None for _, document in found):
        raise InvalidInput("there is no document", hint=HINT)
    return found


def load(paths: Iterable[str], cluster: str = "") -> list[dict[str, Any]]:
    """All documents of known kinds, in order, each checked; of `cluster`, if they may name one and do not. Raises InvalidInput with
    the faults of all."""
    found: list[dict[str, Any]] = []
    faults: list[Fault] = []
    hint = ""
    listed = [d for d in documents(paths) if d[1] is not None]
    for source, item in (each for document in listed for each in _opened(*document, faults)):
        try:
            placed = at_home(item, cluster)
            decode(placed)
        except InvalidInput as error:
            hint = hint or error.hint
            inner = error.faults or (Fault("", error.message),)
            faults += [Fault(f"{source}: {fault.pointer or '/'}", fault.message) for fault in inner]
            continue
        found.append(placed)
    if faults:
        raise InvalidInput(f"{len(faults)} fault(s); nothing was sent", hint=hint, faults=faults)
    if not found:
        raise InvalidInput("there is no document", hint=HINT)
    return found


def _opened(source: str, document: Any, faults: list[Fault]) -> Iterator[Document]:
    """A list's items, or the document itself."""
    if not isinstance(document, dict) or not str(document.get("kind", "")).endswith("List"):
        yield source, document
        return
    items = document.get("items", [])
    if not isinstance(items, list):
        faults.append(Fault(f"{source}: /items", "a list is needed"))
        return
    for index, item in enumerate(items):
        yield f"{source}, item {index}", item


def at_home(document: Any, cluster: str) -> Any:
    """The document with the cluster put into its metadata, where that may name one and it names none, by field or label."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not cluster or not isinstance(metadata, dict) or kind_of(document).scope is Scope.FEDERATION:
        return document
    labels = metadata.get("labels")
    if metadata.get("cluster") or (isinstance(labels, dict) and labels.get(CLUSTER_LABEL)):
        return document
    return {**document, "metadata": {**metadata, "cluster": cluster}}


def parse(source: str, text: str) -> list[Any]:
    """The documents of one text. Raises InvalidInput."""
    faults: list[Fault] = []
    found = [document for _, document in _documents_of(Text(source, text), faults)]
    if faults:
        raise InvalidInput(f"{len(faults)} fault(s)", faults=faults)
    return found


def _documents_of(text: Text, faults: list[Fault]) -> Iterator[Document]:
    """The documents of a text, as far as it can be read; its faults are added to those that there are."""
    if text.fault:
        faults.append(Fault(text.source, text.fault))
        return
    number = 0
    try:
        for number, (document, wrong) in enumerate(_read(text), start=1):
            source = f"{text.source}, document {number}"
            faults += [Fault(f"{source}: {fault.pointer or '/'}", fault.message) for fault in wrong]
            yield source, document
    except (JsonError, YamlError) as error:
        faults.append(Fault(f"{text.source}, document {number + 1}", str(error)))


def _read(text: Text) -> Iterator[tuple[Any, list[Fault]]]:
    """By the file's name; what has none and looks like JSON is tried as such first: all JSON is YAML, but slower to read."""
    if text.source.endswith(".json"):
        return json_documents(text.text)
    if text.text.lstrip()[:1] in ("{", "["):
        try:
            return iter(list(json_documents(text.text)))
        except JsonError:
            pass
    return yaml_documents(text.text)
