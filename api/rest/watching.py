"""A watch as its user asked for it: only what matches, and what stops matching is said to be gone."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from controlplane.intent import ListQuery
from federation.selectors import parse


async def filtered(
    events: AsyncIterator[dict[str, Any]], query: ListQuery, sees: Callable[[Mapping[str, Any]], bool]
) -> AsyncIterator[dict[str, Any]]:
    """The events that a query lets through, of what its asker sees. To its reader an object that begins to match is ADDED, one that ends to is DELETED."""
    selector = parse(query.label_selector)
    fields = [_condition(part) for part in query.field_selector.split(",") if part.strip()]
    shown: set[tuple[str, str, str]] = set()
    async for event in events:
        item = event.get("object")
        if event["type"] == "BOOKMARK" or item is None:
            yield event
            continue
        meta = item["metadata"]
        key = (meta.get("cluster", ""), meta.get("namespace", ""), meta["name"])
        is_wanted = (
            query.cluster in ("", key[0])
            and query.namespace in ("", key[1])
            and sees(item)
            and selector.matches(meta.get("labels", {}))
            and all((str(_at(item, path)) == value) is is_equal for path, value, is_equal in fields)
        )
        if event["type"] == "DELETED" or not is_wanted:
            if key in shown or (event["type"] == "DELETED" and is_wanted):
                shown.discard(key)
                yield {"type": "DELETED", "object": item}
            continue
        kind = "MODIFIED" if key in shown else "ADDED" if event["type"] == "ADDED" or shown else event["type"]
        shown.add(key)
        yield {"type": kind, "object": item}


async def lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """NDJSON."""
    async for event in events:
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _condition(text: str) -> tuple[list[str], str, bool]:
    operator = "!=" if "!=" in text else "==" if "==" in text else "="
    path, _, value = text.partition(operator)
    return path.strip().split("."), value.strip(), operator != "!="


def _at(item: Any, path: list[str]) -> Any:
    for name in path:
        item = item.get(name, "") if isinstance(item, dict) else ""
    return item
