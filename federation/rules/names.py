"""How Calico writes names, and what else of its grammar documents share. Source: its API's validator, v3.

Looser where its releases differ: a policy's name may begin with its tier (`security.allow-dns`), which releases before 3.30 demand.
"""

import math
import re
from collections.abc import Iterable, Mapping

from federation.errors import Fault, shown
from federation.resources.grammar import NAME, escaped

LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
TIER = re.compile(LABEL)
GLOBAL_POLICY = re.compile(rf"(?:{LABEL}\.)?{LABEL}")
POLICY = re.compile(rf"(?:{LABEL}\.)?{LABEL}|(?:knp|ossg)\.default\.{LABEL}(?:\.{LABEL})*")
"""Of a NetworkPolicy; `knp.default.` is how calicoctl shows one of Kubernetes."""
PORT = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?")
"""A port's name (IANA service name)."""
INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
MAX_TIER_NAME = 63
MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all keys and values together."""
ANNOTATION = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[a-z0-9](?:[-a-z0-9_.]{0,61}[a-z0-9])?")


def name_faults(pointer: str, name: str, what: str = "name") -> Iterable[Fault]:
    """What is wrong with a name of some other object."""
    if not NAME.fullmatch(name):
        yield Fault(
            pointer, f"{shown(name)} is not a {what} (lower case letters, digits, '-' and single dots)"
        )


def order_faults(order: float | None) -> Iterable[Fault]:
    """An order is a number that JSON knows; what comes last has none."""
    if order is not None and not math.isfinite(order):
        yield Fault("/spec/order", f"{order} is no number: leave it out to come last")


def annotation_faults(pointer: str, annotations: Mapping[str, str]) -> Iterable[Fault]:
    """Keys as Kubernetes writes them, and a size that it would store."""
    for key in annotations:
        if not ANNOTATION.fullmatch(key.lower()):
            yield Fault(f"{pointer}/{escaped(key)}", "not an annotation's key")
    size = sum(len(text.encode("utf-8", "replace")) for pair in annotations.items() for text in pair)
    if size > MAX_ANNOTATIONS:
        yield Fault(pointer, f"{size} bytes are more than {MAX_ANNOTATIONS}")
