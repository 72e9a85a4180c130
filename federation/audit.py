"""The chain of the audit log: each entry's hash covers all that it says and the hash of the entry before it.

Whoever holds the newest hash of yesterday can tell today whether anything before it was changed, left out or put in; and whoever holds none can tell
unless every hash after the place was made anew. Pure; the control plane writes it, and anybody checks what was exported.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from federation.errors import Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody did. Texts; empty: there is none."""

    at: str
    """RFC 3339, UTC."""
    actor: str
    address: str = ""
    """Where the request came from."""
    request: str = ""
    """Id of the request: one may do several things."""
    action: str
    """create, update, delete; or what, and a dot, and how: certificate.revoke."""
    subject: str
    """Kind and path, or a name."""
    before: str = ""
    """SHA-256 of the document that stood, hexadecimal."""
    after: str = ""
    """Of the one that stands now."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A deed at its place in the log, counted from 1 without gaps."""

    sequence: int
    deed: Deed
    hash: str


def chained(deeds: Iterable[Deed], sequence: int, head: str) -> list[Entry]:
    """Entries for deeds, after the one that is `head` at `sequence` (0 and empty: there is none)."""
    entries = []
    for deed in deeds:
        sequence += 1
        head = hash_of(sequence, head, deed)
        entries.append(Entry(sequence, deed, head))
    return entries


def hash_of(sequence: int, before: str, deed: Deed) -> str:
    """SHA-256, hexadecimal, of the JSON of what an entry says, as a list with no spaces and nothing but ASCII."""
    text = json.dumps([sequence, before, *astuple(deed)], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Chain:
    """Checks entries as they come, from the first."""

    def __init__(self, sequence: int = 0, head: str = "") -> None:
        self.sequence = sequence
        self.head = head

    def add(self, entry: Entry) -> None:
        """The next one. Raises Conflict, which says what is wrong with it."""
        if entry.sequence != self.sequence + 1:
            missing = f"{self.sequence + 1}" + (
                f"-{entry.sequence - 1}" if entry.sequence > self.sequence + 2 else ""
            )
            what = (
                f"entry {missing} is missing"
                if entry.sequence > self.sequence
                else f"entry {entry.sequence} comes twice"
            )
            raise Conflict(f"the audit log is not whole: {what}")
        if entry.hash != hash_of(entry.sequence, self.head, entry.deed):
            raise Conflict(
                f"the audit log was changed: entry {entry.sequence} ({entry.deed.at} {entry.deed.actor} {entry.deed.action} "
                f"{entry.deed.subject}) does not follow from what stands before it"
            )
        self.sequence, self.head = entry.sequence, entry.hash
