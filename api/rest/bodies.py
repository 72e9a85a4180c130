"""Reading requests: bounded bodies, JSON with a position when it is broken, documents into changes."""

import json
from typing import Any

from fastapi import Request

from controlplane.intent import Change, Verb
from federation.errors import CausewayError, Fault, InvalidInput, Malformed, TooLarge
from federation.resources.codec import decode

MAX_BODY = 8 * 1024 * 1024
"""Bytes."""


async def read_json(request: Request) -> Any:
    """The body. Raises TooLarge or InvalidInput."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"the body is larger than {MAX_BODY} bytes", hint="send it in several parts")
    try:
        return json.loads(bytes(body), object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"the body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise Malformed(message) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Malformed(f"the body is not JSON: {reason}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def known_query(request: Request, *names: str) -> None:
    """Raises InvalidInput for a query parameter that the route does not have: a misspelt one must not be passed over."""
    if unknown := sorted(set(request.query_params) - set(names)):
        hint = f"known: {', '.join(names)}" if names else "this route takes none"
        raise InvalidInput(f"unknown query parameter(s) {', '.join(unknown)}", hint=hint)


def if_match(request: Request) -> int | None:
    """The revision that If-Match names. Raises InvalidInput."""
    header = request.headers.get("if-match", "*").strip()
    if header == "*":
        return None
    if not header.strip('"').isdigit():
        raise InvalidInput(
            f"If-Match {header} is not an ETag of this API", hint='ETags are quoted revisions, like "12"'
        )
    return int(header.strip('"'))


def changes_of(items: Any, verb: Verb) -> list[Change]:
    """A bulk's changes. Raises InvalidInput with the faults of all documents, by pointers from the bulk's root."""
    if not isinstance(items, list):
        raise InvalidInput(
            "a bulk is an object with a list of documents", faults=[Fault("/items", "a list is needed")]
        )
    changes: list[Change] = []
    faults: list[Fault] = []
    for index, document in enumerate(items):
        try:
            resource = decode(document)
        except CausewayError as error:
            inner = error.faults or (Fault("", error.message),)
            faults += [Fault(f"/items/{index}{fault.pointer}", fault.message) for fault in inner]
            continue
        standing = resource.metadata.revision or None
        changes.append(Change(verb=verb, key=resource.key, resource=resource, if_revision=standing))
    if faults:
        raise InvalidInput(
            f"{len(faults)} fault(s) in {len(items)} document(s); nothing was changed", faults=faults
        )
    return changes


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: a JSON merge patch applied."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
