"""Reading requests: bounded bodies, JSON with a position when it is broken, documents into changes."""

import asyncio
import hashlib
import re
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.input.json_text import JsonError, json_document
from controlplane.intent import Change, RequestKey, Verb
from federation.errors import CausewayError, Fault, InvalidInput, Malformed, TooLarge, shown
from federation.resources.codec import decode

MAX_BODY = 8 * 1024 * 1024
"""Bytes."""
BODY_SECONDS = 60.0
"""Who sends slower holds a connection, and nothing else."""


IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:-]{1,200}")


async def read_json(request: Request) -> Any:
    """The body. Raises TooLarge or InvalidInput."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise Malformed(
            f"the body is packed ({shown(coding)})", hint="send it as it is: nothing is unpacked here"
        )
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise TooLarge(
                        f"the body is larger than {MAX_BODY} bytes", hint="send it in several parts"
                    )
    except TimeoutError:
        raise Malformed(f"the body did not come within {BODY_SECONDS:g} s") from None
    except ClientDisconnect as error:  # nobody hears it, and nothing is wrong here
        raise Malformed("the body ended before its end") from error
    request.state.body_digest = hashlib.sha256(body).hexdigest()
    try:
        document, faults = json_document(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not JSON: not UTF-8 text at byte {error.start}") from error
    except JsonError as error:
        raise Malformed(f"the body is {error}") from error
    if faults:
        raise Malformed(f"the body is not JSON: {faults[0].message}", faults=faults)
    return document


def request_key(request: Request) -> RequestKey | None:
    """What Idempotency-Key says of this request, whose body has been read; None: nothing. Raises InvalidInput."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    key = given.strip().strip('"')
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidInput(
            "Idempotency-Key is not 1-200 letters, digits, '-', '_', '.' or ':'", hint="a UUID is one"
        )
    body = getattr(request.state, "body_digest", "")
    asked = "\n".join(
        (request.method, request.url.path, request.url.query, request.headers.get("if-match", ""), body)
    )
    return RequestKey(key, hashlib.sha256(asked.encode()).hexdigest())


def refuse_unfit(request: Request) -> None:
    """Raises InvalidInput for a path or query with a NUL, which no database takes for text."""
    if "\0" in request.url.path or any(
        "\0" in part for pair in request.query_params.items() for part in pair
    ):
        raise InvalidInput("the URL holds a NUL, which is no character of text")


def known_query(request: Request, *names: str) -> None:
    """Raises InvalidInput for a query parameter that the route does not have: a misspelt one must not be passed over."""
    if unknown := sorted(set(request.query_params) - set(names)):
        hint = f"known: {', '.join(names)}" if names else "this route takes none"
        raise InvalidInput(f"unknown query parameter(s) {', '.join(unknown)}", hint=hint)


def is_set(request: Request, name: str) -> bool:
    """A query parameter that is true or false; false when absent. Raises InvalidInput for any other word: it must not be passed over."""
    given = request.query_params.get(name, "false")
    if given not in ("true", "false"):
        raise InvalidInput(f"{name} {shown(given)} is neither true nor false")
    return given == "true"


def whole_number(text: str, name: str, low: int, high: int) -> int:
    """The number that a query parameter or a part of a path says. Raises InvalidInput."""
    is_number = text.isascii() and text.isdigit() and len(text) < 20
    if not is_number or not low <= int(text) <= high:
        raise InvalidInput(f"{name} {shown(text)} is not in {low}-{high}")
    return int(text)


def if_match(request: Request) -> int | None:
    """The revision that If-Match names. Raises InvalidInput."""
    header = request.headers.get("if-match", "*").strip()
    if header == "*":
        return None
    digits = header.removeprefix('"').removesuffix('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise InvalidInput(
            f"If-Match {header} is not an ETag of this API", hint='ETags are quoted revisions, like "12"'
        )
    return int(digits)


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
