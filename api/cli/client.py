"""The command line's way to the REST API, and how its refusals become one clear error and an exit code."""

import os
from pathlib import Path
from typing import Any

import httpx

from federation.errors import CausewayError, Fault, InvalidInput, Unavailable

EXIT_CODES = {"invalid": 2, "invalid-selector": 2, "unavailable": 3, "not-enforced": 4, "not-found": 5}
"""By an error's code; 1 for every other, 0 when all is well."""


class RefusedError(CausewayError):
    """What the control plane refused, in its own words."""

    def __init__(self, code: str, message: str, hint: str, faults: list[Fault]) -> None:
        super().__init__(message, hint=hint, faults=faults)
        self.reason = code


def exit_code(error: CausewayError) -> int:
    """The exit code of an error."""
    return EXIT_CODES.get(error.reason if isinstance(error, RefusedError) else error.code, 1)


class Client:
    """Blocking. Server and token file come from flags or CAUSEWAY_SERVER and CAUSEWAY_TOKEN_FILE."""

    def __init__(self, server: str = "", token_file: str = "") -> None:
        self.server = server or os.environ.get("CAUSEWAY_SERVER", "http://127.0.0.1:8440")
        path = token_file or os.environ.get("CAUSEWAY_TOKEN_FILE", "")
        headers = {}
        if path:
            try:
                headers["Authorization"] = f"Bearer {Path(path).read_text().strip()}"
            except OSError as error:
                raise InvalidInput(
                    f"token file {path}: {error.strerror}", hint="the control plane prints its path"
                ) from error
        self.http = httpx.Client(base_url=self.server, headers=headers, timeout=90)

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON. Raises RefusedError or Unavailable."""
        given = {key: value for key, value in query.items() if value not in ("", None)}
        try:
            response = self.http.request(method, path, json=body, params=given)
        except httpx.TransportError as error:
            hint = "is it running? set --server or CAUSEWAY_SERVER"
            raise Unavailable(
                f"the control plane at {self.server} does not answer ({error})", hint=hint
            ) from error
        if response.is_error:
            raise _refused(response)
        return response.json() if response.content else None


def _refused(response: httpx.Response) -> CausewayError:
    try:
        body = response.json()
    except ValueError:
        return RefusedError("http", f"{response.status_code} {response.text[:200]}", "", [])
    faults = [Fault(e.get("pointer", ""), e.get("detail", "")) for e in body.get("errors", [])]
    return RefusedError(body.get("title", "http"), body.get("detail", ""), body.get("hint", ""), faults)
