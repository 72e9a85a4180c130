"""What may be done to a map: the words that plans are made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Update:
    """Write entries of a map."""

    map: str
    entries: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove entries of a map; one that is not there is no error."""

    map: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove what a map holds of other banks than these: nobody remembers what that is, so it has to be read."""

    map: str
    kept: frozenset[int]


Write = Update | Delete | Sweep


def needed(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Those that do something."""
    return tuple(write for write in writes if _does_something(write))


def _does_something(write: Write) -> bool:
    match write:
        case Update(entries=entries):
            return bool(entries)
        case Delete(keys=keys):
            return bool(keys)
        case _:
            return True
