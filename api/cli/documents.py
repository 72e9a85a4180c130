"""Files of documents, YAML or JSON: one or many in a file, folders, standard input. Duplicate keys are refused, dates stay text."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from federation.errors import Fault, InvalidInput
from federation.identities import CLUSTER_LABEL
from federation.kinds.registry import kind_of
from federation.resources.codec import decode
from federation.resources.metadata import Scope

MAX_BYTES = 256 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(SafeLoader):  # type: ignore[misc]  # libyaml's loader has no types
    """YAML as Kubernetes reads it."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """(source, document) pairs, in order. Raises InvalidInput naming file, line and fault."""
    for path in paths:
        for source, text in _texts(path):
            for number, document in enumerate(parse(source, text), start=1):
                yield f"{source}, document {number}", document


def load(paths: Iterable[str], cluster: str = "") -> list[dict[str, Any]]:
    """All documents of known kinds, in order, each checked; of `cluster`, if they may name one and do not. Raises InvalidInput with
    the faults of all."""
    found: list[dict[str, Any]] = []
    faults: list[Fault] = []
    hint = ""
    for source, document in documents(paths):
        if document is None:
            continue
        is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List")
        for item in document.get("items") or () if is_list else [document]:
            try:
                item = at_home(item, cluster)
                decode(item)
            except InvalidInput as error:
                hint = hint or error.hint
                inner = error.faults or (Fault("", error.message),)
                faults += [Fault(f"{source}: {fault.pointer or '/'}", fault.message) for fault in inner]
                continue
            found.append(item)
    if faults:
        raise InvalidInput(f"{len(faults)} fault(s); nothing was sent", hint=hint, faults=faults)
    if not found:
        raise InvalidInput("there is no document", hint="name files, folders, or - with -f")
    return found


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
    try:
        if source.endswith(".json"):
            return [json.loads(text, object_pairs_hook=_object)]
        return list(yaml.load_all(text, Loader=Loader))
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{source}, line {error.lineno}: not JSON: {error.msg}") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInput(f"{source}{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput(f"{source}: not YAML: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"{source}: nested too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key(s) stand twice: {', '.join(twice)}")
    return found


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", sys.stdin.read()
        return
    place = Path(path)
    files = sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES) if place.is_dir() else [place]
    if place.is_dir() and not files:
        raise InvalidInput(f"{path} holds no {', '.join(SUFFIXES)} file")
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise InvalidInput(f"{file} is larger than {MAX_BYTES >> 20} MiB")
            yield str(file), file.read_text()
        except OSError as error:
            raise InvalidInput(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
