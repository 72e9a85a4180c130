"""Documents from files: YAML or JSON, one or many, a List, a folder, or standard input."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from federation.errors import InvalidInput
from federation.resources.codec import decode


def load(paths: Iterable[str]) -> list[dict[str, Any]]:
    """All documents, in order, each checked. Raises InvalidInput naming file and document."""
    documents: list[dict[str, Any]] = []
    for path in paths:
        for source, text in _texts(path):
            try:
                parsed = list(yaml.safe_load_all(text))
            except yaml.YAMLError as error:
                raise InvalidInput(f"{source} is not YAML: {error}") from error
            documents += _checked(source, parsed)
    if not documents:
        raise InvalidInput("there is no document", hint="name files, folders, or - with -f")
    return documents


def _checked(source: str, parsed: list[Any]) -> Iterator[dict[str, Any]]:
    for number, document in enumerate(parsed, start=1):
        if document is None:
            continue
        is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List")
        for item in document.get("items", []) if is_list else [document]:
            try:
                decode(item)
            except InvalidInput as error:
                message = f"{source}, document {number}: {error.message}"
                raise InvalidInput(message, hint=error.hint, faults=error.faults) from error
            yield item


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", sys.stdin.read()
        return
    place = Path(path)
    files = (
        sorted(p for p in place.rglob("*") if p.suffix in (".yaml", ".yml", ".json"))
        if place.is_dir()
        else [place]
    )
    for file in files:
        try:
            yield str(file), file.read_text()
        except OSError as error:
            raise InvalidInput(f"{file}: {error.strerror}") from error
