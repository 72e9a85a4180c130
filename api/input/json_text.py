"""JSON, read strictly: no key twice, no NaN, no number beyond 64 bits, no half of a character pair, no nesting without end."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from math import isinf
from typing import Any

from federation.errors import Fault

MAX_DEPTH = 100
"""Lists and objects inside each other. What is read must be safe to walk by recursion."""
TOO_DEEP = f"nested too deep: more than {MAX_DEPTH} lists and objects inside each other"
SMALLEST, LARGEST = -(2**63) - 1, 2**64
"""Whole numbers between them can be held by other programs too."""
ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
UNFIT = re.compile("[\x00\ud800-\udfff]")
GAP = re.compile(r"[ \t\r\n]*")


class JsonError(Exception):
    """The text stops being JSON. `line` and `column` count from 1; 0 where there is no one place."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        place = f"line {line}, column {column}: " if line else ""
        super().__init__(f"not JSON: {place}{reason}")


class _Unfit:
    """Stands in a tree for a number that none may hold."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Doubled(dict[str, Any]):
    """An object in which keys stand twice."""

    twice: tuple[str, ...] = ()


CONTAINERS = {dict, list, _Doubled}


class _Decoder(json.JSONDecoder):
    """Python's own, which marks what it should have refused; the marks are looked for only when there are some."""

    def __init__(self) -> None:
        self.has_marks = False
        super().__init__(
            object_pairs_hook=self._object,
            parse_constant=lambda name: self._unfit(f"{name} is not a number of JSON"),
            parse_float=self._float,
            parse_int=self._int,
        )

    def _unfit(self, reason: str) -> _Unfit:
        self.has_marks = True
        return _Unfit(reason)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        self.has_marks = True
        doubled, times = _Doubled(found), Counter(key for key, _ in pairs)
        doubled.twice = tuple(key for key, count in times.items() if count > 1)
        return doubled

    def _float(self, text: str) -> Any:
        number = float(text)
        return self._unfit(f"{text[:40]} is beyond what a number can hold") if isinf(number) else number

    def _int(self, text: str) -> Any:
        number = int(text) if len(text) < 21 else LARGEST
        return number if SMALLEST < number < LARGEST else self._unfit(f"{text[:40]} is beyond 64 bits")


def json_documents(text: str) -> Iterator[tuple[Any, list[Fault]]]:
    """Each document of a text, one after the other, with its faults. Raises JsonError."""
    place = _after_gap(text, 0)
    while place < len(text):
        document, faults, end = _read(text, place)
        yield document, faults
        place = _after_gap(text, end)


def json_document(text: str) -> tuple[Any, list[Fault]]:
    """The one document of a text, with its faults. Raises JsonError."""
    document, faults, end = _read(text, _after_gap(text, 0))
    if (rest := _after_gap(text, end)) < len(text):
        raise _error(json.JSONDecodeError("something stands after its end", text, rest))
    return document, faults


def _read(text: str, place: int) -> tuple[Any, list[Fault], int]:
    decoder = _Decoder()
    try:
        document, end = decoder.raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise _error(error) from None
    except RecursionError:
        raise JsonError(TOO_DEEP) from None
    if _is_deep(document):
        raise JsonError(TOO_DEEP)
    has_marks = decoder.has_marks or ODD_ESCAPE.search(text, place, end)
    return document, list(_faults(document, "")) if has_marks else [], end


def _after_gap(text: str, place: int) -> int:
    found = GAP.match(text, place)
    return found.end() if found else place


def _error(error: json.JSONDecodeError) -> JsonError:
    return JsonError(error.msg, error.lineno, error.colno)


def _is_deep(document: Any) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if type(inner) in CONTAINERS
        ]
    return bool(level)


def _faults(value: Any, pointer: str) -> Iterator[Fault]:
    match value:
        case _Unfit():
            yield Fault(pointer, value.reason)
        case str() if UNFIT.search(value):
            yield Fault(pointer, f"{value[:60]!a} holds what is no character of text")
        case list():
            for index, inner in enumerate(value):
                yield from _faults(inner, f"{pointer}/{index}")
        case dict():
            for key in value.twice if isinstance(value, _Doubled) else ():
                yield Fault(f"{pointer}/{escaped(key)}", f"key {key!r} stands twice")
            for key, inner in value.items():
                if UNFIT.search(key):
                    yield Fault(pointer, f"the key {key[:60]!a} holds what is no character of text")
                yield from _faults(inner, f"{pointer}/{escaped(key)}")


def escaped(key: str) -> str:
    """A key as part of a JSON pointer (RFC 6901), and of one line."""
    text = key.replace("~", "~0").replace("/", "~1")
    return text if text.isprintable() else ascii(text)[1:-1]
