"""The one table from errors to HTTP: RFC 9457 problems with the JSON pointer of every fault."""

import json
import math
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from federation import errors

STATUS: dict[type[errors.CausewayError], int] = {
    errors.CausewayError: 500,
    errors.InvalidInput: 422,
    errors.SelectorError: 422,
    errors.Malformed: 400,
    errors.Gone: 410,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.AlreadyExists: 409,
    errors.StaleRevision: 412,
    errors.Overlap: 409,
    errors.TooLarge: 413,
    errors.TooMany: 429,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
    errors.PlatformLack: 501,
    errors.DriverError: 500,
}
MEDIA_TYPE = "application/problem+json"


def problem_of(error: errors.CausewayError) -> Response:
    """The answer that an error becomes."""
    body: dict[str, Any] = {"title": error.code, "detail": error.message, "hint": error.hint}
    body["errors"] = [{"pointer": fault.pointer, "detail": fault.message} for fault in error.faults]
    told = {key: value for key, value in body.items() if value}
    wait = math.ceil(error.seconds) if isinstance(error, errors.TooMany) else 1
    return problem(STATUS[type(error)], error.code, told, retry_after=wait)


def problem(status: int, code: str, body: dict[str, Any], *, retry_after: int = 1) -> Response:
    """A problem document. `retry_after`: seconds, of a refusal that is not for ever."""
    full = {"type": f"https://causeway.dev/problems/{code}", "status": status, **body}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (429, 503):
        headers = {"Retry-After": str(retry_after)}
    return Response(json.dumps(full), status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def on_error(_request: Request, error: Exception) -> Response:
    """FastAPI's handler for everything that is ours."""
    if isinstance(error, errors.CausewayError):
        return problem_of(error)
    return problem(
        500, "internal", {"title": "internal", "detail": "an error of the control plane; see its log"}
    )


async def on_http_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler for what its router refuses."""
    status = getattr(error, "status_code", 500)
    detail = f"{request.method} {request.url.path}: {getattr(error, 'detail', '')}"
    return problem(status, "http", {"title": "http", "detail": detail})
