"""Lists and objects out of what the hub holds. Pure."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controlplane.hub import Hub
from controlplane.intent import ListQuery, Page, Rollout
from federation import wire
from federation.errors import InvalidInput
from federation.resources.metadata import ObjectKey
from federation.selectors import parse

Reports = Mapping[tuple[str, str], tuple[int, str]]
"""By cluster and node: the revision that its kernel enforces, and when it said so."""

NAMED = 5
"""Nodes behind that a condition names."""


def page(hub: Hub, query: ListQuery, reports: Reports, sees: Callable[[Mapping[str, Any]], bool] | None = None) -> Page:  # fmt: skip
    """A page of a list, ordered by cluster, namespace, name. `sees`: what may be shown; None: everything. Raises InvalidInput."""
    selector, fields = parse(query.label_selector), field_terms(query.field_selector)
    keys = hub.sorted_keys(query.kind)
    found: list[dict[str, Any]] = []
    texts: list[bytes] = []
    last = ""
    for key in keys[_place(keys, query.continue_after) :]:
        if query.cluster not in ("", key.cluster) or query.namespace not in ("", key.namespace):
            continue
        item = hub.objects[key]
        document = told(item.document or {}, key, reports)
        if sees is not None and not sees(document):
            continue
        if not selector.matches(document["metadata"].get("labels", {})) or not has_fields(document, fields):
            continue
        if len(found) == query.limit:
            break
        found.append(document)
        is_as_stored = document is item.document
        texts.append(wire.document_in(item.line) if is_as_stored else json.dumps(document).encode())
        last = f"{key.cluster}/{key.namespace}/{key.name}"
    else:
        last = ""
    return Page(documents=tuple(found), texts=tuple(texts), revision=hub.revision, continue_after=last)


def told(document: dict[str, Any], key: ObjectKey, reports: Reports) -> dict[str, Any]:
    """A document, a node's with its last report."""
    report = reports.get((key.cluster, key.name)) if key.kind == "Node" else None
    if report is None:
        return document
    enforced, at = report
    status = {**document.get("status", {}), "enforcedRevision": enforced, "lastReport": at}
    return {**document, "status": status}


def with_enforcement(
    document: dict[str, Any], rollout: Rollout, sees: Callable[[str], bool]
) -> dict[str, Any]:
    """A policy's document with its condition Enforced. `sees`: which clusters' nodes may be named."""
    done, behind = len(rollout.enforced), rollout.behind
    said = [f"{node}: {why}" for node, why in behind if sees(node.partition("/")[0])][:NAMED]
    more = [f"{len(behind) - len(said)} more"] if behind and len(behind) > len(said) else []
    condition = {
        "type": "Enforced",
        "status": "False" if behind else "True",
        "reason": "Behind" if behind else "EveryNode",
        "message": "; ".join([f"{done}/{done + len(behind)}", *said, *more]),
    }
    status = document.get("status") or {}
    return {**document, "status": {**status, "conditions": [*status.get("conditions", ()), condition]}}


def field_terms(text: str) -> list[tuple[tuple[str, ...], bool, str]]:
    """Terms `a.b=x`, `a.b==x`, `a.b!=x`, separated by commas: (path, is wanted equal, value)."""
    terms = []
    for term in filter(None, text.split(",")):
        operator = next((o for o in ("!=", "==", "=") if o in term), None)
        if operator is None:
            raise InvalidInput(f"field selector {term!r} has no =, == or !=")
        path, _, value = term.partition(operator)
        terms.append((tuple(path.strip().split(".")), operator != "!=", value.strip()))
    return terms


def has_fields(document: object, terms: Iterable[tuple[tuple[str, ...], bool, str]]) -> bool:
    """Whether a document satisfies every term; a missing field equals the empty string."""
    for path, is_equal, value in terms:
        at = document
        for part in path:
            at = at.get(part, "") if isinstance(at, dict) else ""
        if (str(at) == value) is not is_equal:
            return False
    return True


def _place(keys: list[ObjectKey], after: str) -> int:
    if not after:
        return 0
    parts = after.split("/")
    if len(parts) != 3:
        raise InvalidInput("continue is not from an earlier page of this list")
    return bisect_right(keys, tuple(parts), key=lambda key: (key.cluster, key.namespace, key.name))
