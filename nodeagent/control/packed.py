"""Documents as the bytes that they came as: an agent keeps each for years and reads it once. As Python's objects they take seven times as much."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any


class Packed(Mapping[str, Any]):
    """One document; `raw` is its JSON."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Packed":
        """Pack one; a packed one is itself."""
        if isinstance(document, Packed):
            return document
        return cls(
            json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        )

    def whole(self) -> dict[str, Any]:
        """As Python's objects, made anew. Labels, which thousands of documents have alike, are shared."""
        made: dict[str, Any] = json.loads(self.raw.decode("utf-8", "surrogatepass"))
        for part in ("metadata", "spec"):
            held = made.get(part)
            labels = held.get("labels") if isinstance(held, dict) else None
            if isinstance(labels, dict):
                made[part]["labels"] = {sys.intern(key): _shared(value) for key, value in labels.items()}
        return made

    def __getitem__(self, key: str) -> Any:
        return self.whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Packed):
            return self.raw == other.raw
        return isinstance(other, Mapping) and self.whole() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Packed({self.raw!r})"


def _shared(value: Any) -> Any:
    return sys.intern(value) if type(value) is str else value
