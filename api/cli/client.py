"""The command line's way to the REST API: its settings, and how refusals become one clear error and an exit code."""

import json
import os
import sys
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx

from api.cli.trust.pins import context_for
from federation.errors import CausewayError, Fault, InvalidInput, Unavailable

EXIT_CODES = {
    "invalid": 2, "invalid-selector": 2, "malformed": 2, "too-large": 2, "unavailable": 3, "too-many": 3, "not-enforced": 4, "not-found": 5, "unauthenticated": 6, "forbidden": 6,
    "conflict": 7, "already-exists": 7, "stale-revision": 7, "overlap": 7, "differs": 1,
}  # fmt: skip
"""By an error's code; 1 for every other, 0 when all is well."""


TOO_MANY, UNAVAILABLE = 429, 503
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries."""
MOST_WAIT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CliSettings:
    """Defaults < config.toml < environment CAUSEWAY_* < flags."""

    server: str = "https://127.0.0.1:8440"
    """URL of the control plane."""
    ca_file: str = ""
    """File with the roots (PEM) that its certificate may come from; empty, and no hash: those of this machine."""
    ca_hash: str = ""
    """Instead of the file: sha256:… of the root's public key, as `causeway serve` prints it."""
    token_file: str = ""
    """File with your API token; empty: none is sent."""
    timeout: float = 90.0
    """Seconds until an answer is given up."""


def load_settings(environment: Mapping[str, str], **flags: Any) -> CliSettings:
    """The settings of this call. Raises InvalidInput for a file that is not as it should be."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "/")) / ".config")
    path = Path(environment.get("CAUSEWAY_CONFIG") or Path(home) / "causeway" / "config.toml")
    known = {field.name: field.type for field in fields(CliSettings)}
    chosen: dict[str, Any] = {}
    if path.exists() or "CAUSEWAY_CONFIG" in environment:
        try:
            chosen = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(
                f"{path} cannot be read: {error}", hint="it is TOML; see docs/cli.md"
            ) from error
    if unknown := sorted(chosen.keys() - known.keys()):
        raise InvalidInput(f"{path}: unknown key(s) {', '.join(unknown)}", hint=f"known: {', '.join(known)}")
    for name in known:
        if text := environment.get(f"CAUSEWAY_{name.upper()}"):
            chosen[name] = text
    chosen.update({name: value for name, value in flags.items() if value})
    try:
        timeout = float(chosen.pop("timeout", CliSettings().timeout))
    except (TypeError, ValueError):
        raise InvalidInput("timeout is not a number of seconds") from None
    return CliSettings(timeout=timeout, **{name: str(value) for name, value in chosen.items()})


class RefusedError(CausewayError):
    """What the control plane refused, in its own words."""

    def __init__(self, code: str, message: str, hint: str, faults: list[Fault]) -> None:
        super().__init__(message, hint=hint, faults=faults)
        self.reason = code


def exit_code(error: CausewayError) -> int:
    """The exit code of an error."""
    return EXIT_CODES.get(error.reason if isinstance(error, RefusedError) else error.code, 1)


def harmless(text: str) -> str:
    """A text without what a terminal would obey; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class Client:
    """Blocking."""

    def __init__(self, server: str = "", token_file: str = "", timeout: float = 0, **trust: str) -> None:
        settings = load_settings(os.environ, server=server, token_file=token_file, timeout=timeout, **trust)
        self.server = settings.server
        headers = {}
        if settings.token_file:
            try:
                headers["Authorization"] = f"Bearer {Path(settings.token_file).read_text().strip()}"
            except OSError as error:
                raise InvalidInput(
                    f"token file {settings.token_file}: {error.strerror}",
                    hint="causeway serve prints its path",
                ) from error
        if not self.server.startswith(("http://", "https://")):
            raise InvalidInput(f"server {self.server!r} is not a URL", hint="like https://127.0.0.1:8440")
        self._is_told = False
        is_tls = self.server.startswith("https://")
        context = context_for(self.server, settings.ca_file, settings.ca_hash) if is_tls else None
        self.is_pinned = context is not None
        self.http = httpx.Client(base_url=self.server, headers=headers, timeout=settings.timeout, verify=context or is_tls)  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None, *, if_match: str = "", **query: Any) -> Any:
        """The answer's JSON. Raises RefusedError or Unavailable."""
        given = {key: value for key, value in query.items() if value not in ("", None)}
        headers = {"If-Match": if_match} if if_match else {}
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        response = self._patiently(method, path, json=body, params=given, headers=headers)
        if response.is_error:
            raise _refused(response)
        self._say_stale(response)
        return response.json() if response.content else None

    def _patiently(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer of a control plane that is there but cannot answer now is waited for: what is sent again is carried out once."""
        for pause in (*PAUSES, None):
            try:
                response = self.http.request(method, path, **request)
            except (httpx.ConnectError, httpx.TimeoutException) as error:
                raise self._away(error) from error
            except httpx.TransportError as error:  # it ended while it answered
                if pause is None:
                    raise self._away(error) from error
            else:
                if response.status_code not in (TOO_MANY, UNAVAILABLE) or pause is None:
                    return response
                pause = max(pause, _asked_to_wait(response))
            time.sleep(pause)  # noqa: TID251 - a command waits, no loop
        raise AssertionError("never here")

    def _say_stale(self, response: httpx.Response) -> None:
        if (seconds := response.headers.get("causeway-stale")) and not self._is_told:
            self._is_told = True
            print(  # noqa: T201 - beside the answer, not in it
                f"warning: the control plane lost its database {seconds} s ago; this is what stood then",
                file=sys.stderr,
            )

    def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.ask("GET", path, limit=1000, **{**query, "continue": after})
            items += page["items"]
            after = page["metadata"].get("continue", "")
            if not after:
                return items

    def events(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """A watch, until the connection ends. Raises RefusedError or Unavailable."""
        given = {key: value for key, value in query.items() if value not in ("", None)}
        try:
            with self.http.stream("GET", path, params={**given, "watch": "true"}, timeout=None) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.strip():
                        yield json.loads(line)
        except httpx.TransportError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> Unavailable:
        hint = "is it running? set --server, CAUSEWAY_SERVER or server in the configuration file"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = (
                "set CAUSEWAY_CA_FILE or CAUSEWAY_CA_HASH (or ca_file, ca_hash in the configuration file) as causeway serve prints them; "
                "a name that the certificate lacks is added by causeway serve --tls-name"
            )
        elif "SSL" in str(error) or "disconnected" in str(error):
            hint = "does it serve HTTPS, as this URL says (or HTTP)? " + hint
        return Unavailable(f"the control plane at {self.server} does not answer ({error})", hint=hint)


def _asked_to_wait(response: httpx.Response) -> float:
    """Seconds, as Retry-After says; no longer than a person waits."""
    told = response.headers.get("retry-after", "")
    return min(float(told), MOST_WAIT) if told.isascii() and told.isdigit() else 0.0


def _refused(response: httpx.Response) -> CausewayError:
    try:
        body = response.json()
    except ValueError:
        return RefusedError("http", f"{response.status_code} {response.text[:200]}", "", [])
    if not isinstance(body, dict):
        return RefusedError("http", f"{response.status_code} {response.text[:200]}", "", [])
    faults = [Fault(e.get("pointer", ""), e.get("detail", "")) for e in body.get("errors", [])]
    return RefusedError(body.get("title", "http"), body.get("detail", ""), body.get("hint", ""), faults)
