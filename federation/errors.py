"""The one tree of errors.

::

    CausewayError
    ├── InvalidInput            a document or argument is wrong; `faults` says where (JSON pointers)
    │   ├── SelectorError       a selector does not parse; has position and caret
    │   └── Malformed           a body is not even JSON
    ├── NotFound                the named thing does not exist
    ├── Gone                    what was asked for is too long ago: start again from what stands
    ├── Conflict                the change contradicts what stands
    │   ├── AlreadyExists       the name is taken
    │   ├── StaleRevision       compare-and-set lost: the object has changed meanwhile
    │   └── Overlap             a prefix or address belongs to someone else
    ├── TooLarge                a body over the limit
    ├── TooMany                 asked too often; `seconds` says when to come again
    ├── Unauthenticated         no or wrong credentials (a join token unknown, used or expired)
    ├── Forbidden               known, but not allowed to
    ├── Unavailable             the control plane, the database or the disk is away; try again
    ├── PlatformLack            this machine lacks a feature; `hint` says what to do and what still works
    └── DriverError             the kernel (or a tool) refused a change

Every class has a stable `code`, which REST problems, the command line and statuses carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

MAX_SHOWN = 100
"""Faults that people are shown of one error; programs get all."""
MAX_MESSAGE = 4000
"""Characters of one fault: it may quote what a user wrote, which may be a megabyte."""
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80
SHORT.maxlevel = 3


def shown(value: Any) -> str:
    """What a user gave, in so few characters that a message can quote it."""
    return "null" if value is None else SHORT.repr(value)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a document: an RFC 6901 JSON pointer ("" is the whole document) and why."""

    pointer: str
    message: str


class CausewayError(Exception):
    """Root of all errors that Causeway raises on purpose. `message` says what and where, `hint` what to do."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = tuple(
            f if len(f.message) <= MAX_MESSAGE else Fault(f.pointer, f.message[:MAX_MESSAGE] + "…")
            for f in faults
        )

    def __str__(self) -> str:
        shown = self.faults[:MAX_SHOWN]
        lines = [self.message, *(f"  {fault.pointer or '/'}: {fault.message}" for fault in shown)]
        if more := len(self.faults) - len(shown):
            lines.append(f"  … and {more} more")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class InvalidInput(CausewayError):
    """A document or an argument is wrong."""

    code = "invalid"


class SelectorError(InvalidInput):
    """A selector does not parse. `position` is the 0-based character of `text` where it goes wrong."""

    code = "invalid-selector"

    def __init__(self, reason: str, text: str, position: int) -> None:
        self.reason = reason
        self.text = text
        self.position = position
        super().__init__(f"{reason} at character {position + 1}:\n  {text}\n  {' ' * position}^")


class Malformed(InvalidInput):
    """A body cannot be read at all."""

    code = "malformed"


class Gone(CausewayError):
    """A resume from before what is kept; the asker starts again from what stands."""

    code = "gone"


class NotFound(CausewayError):
    """The named thing does not exist."""

    code = "not-found"


class Conflict(CausewayError):
    """The change contradicts what stands."""

    code = "conflict"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already-exists"


class StaleRevision(Conflict):
    """Compare-and-set lost: the object has changed since it was read."""

    code = "stale-revision"


class Overlap(Conflict):
    """A prefix or an address belongs to someone else."""

    code = "overlap"


class TooLarge(CausewayError):
    """A body over the limit."""

    code = "too-large"


class TooMany(CausewayError):
    """Asked too often. `seconds`: until there is room again."""

    code = "too-many"

    def __init__(self, message: str, *, hint: str = "", seconds: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class Unauthenticated(CausewayError):
    """No credentials, or wrong ones."""

    code = "unauthenticated"


class Forbidden(CausewayError):
    """The caller is known, but not allowed to do this."""

    code = "forbidden"


class Unavailable(CausewayError):
    """Something that Causeway needs is away for now; the same request may succeed later."""

    code = "unavailable"


class PlatformLack(CausewayError):
    """This machine lacks a feature. `hint` says what to do, and what still works without it."""

    code = "platform"


class DriverError(CausewayError):
    """The kernel, or a tool that stands for it, refused a change."""

    code = "driver"
