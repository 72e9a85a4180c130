"""How names and labels are written: Kubernetes' grammar. Source: its concepts pages "Object Names and IDs", "Labels and Selectors"."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from federation.errors import Fault, shown

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = rf"(?=.{{1,253}}(?:/|$)){_LABEL}(?:\.{_LABEL})*"
NAME = re.compile(_NAME)
"""RFC 1123: labels, with dots between them; 253 characters."""
DNS_LABEL = re.compile(rf"(?=.{{1,63}}$){_LABEL}")
"""One label, as namespaces are called."""
LABEL_KEY = re.compile(rf"(?:{_NAME}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def name_faults(part: str, value: str) -> Iterator[Fault]:
    """What is wrong with metadata's name, namespace or cluster."""
    if part == "namespace" and not DNS_LABEL.fullmatch(value):
        why = "is not a namespace's name (lower case letters, digits and '-', 63 at most)"
        yield Fault(f"/metadata/{part}", f"{shown(value)} {why}")
    elif not NAME.fullmatch(value):
        why = "is not a name (lower case letters, digits, '-' and '.', 253 at most)"
        yield Fault(f"/metadata/{part}", f"{shown(value)} {why}")


def label_faults(pointer: str, labels: Mapping[str, str]) -> Iterator[Fault]:
    """What is wrong with the labels that stand there."""
    for key, value in labels.items():
        if not _is_key(key):
            yield Fault(f"{pointer}/{escaped(key)}", "not a label key")
        if not _is_value(value):
            yield Fault(f"{pointer}/{escaped(key)}", f"{shown(value)} is not a label value")


def quotes_missing(value: Any) -> str:
    """What YAML has done to a word that its writer took for text; empty for what was never a word."""
    if isinstance(value, bool):
        return " (to YAML yes, no, on, off, true and false are truth values: put quotes around it)"
    return " (put quotes around it)" if isinstance(value, int | float) else ""


def escaped(key: str) -> str:
    """A key as part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=65536)
def _is_key(text: str) -> bool:
    return LABEL_KEY.fullmatch(text) is not None


@lru_cache(maxsize=65536)
def _is_value(text: str) -> bool:
    return LABEL_VALUE.fullmatch(text) is not None
