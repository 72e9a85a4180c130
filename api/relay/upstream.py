"""A relay's line to the control plane: its own stream and certificate as an agent has them, and what it forwards on behalf of its nodes."""

from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from api.relay.roots import Roots
from api.rest.relaying.behalf import HEADER, SOURCE
from federation import wire
from federation.errors import (
    CausewayError,
    Conflict,
    Fault,
    Forbidden,
    InvalidInput,
    Malformed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from nodeagent.control.client import HttpChannel
from nodeagent.settings import Secret

REFUSALS: dict[int, type[CausewayError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
}


class Upstream:
    """Implements `nodeagent.control.renewal.CertificateChannel`, so that a relay renews as an agent does."""

    def __init__(self, server: str, state_dir: Path, roots: Roots) -> None:
        self.roots = roots
        self.on_news: Callable[[], None] = _nothing
        """Called when there is another certificate, or something else to trust."""
        self._channel = HttpChannel(server, Secret(""), identity_dir=state_dir)
        self._hear: Callable[[wire.Trust], None] | None = None

    @property
    def skew_seconds(self) -> float | None:
        """As the channel's."""
        return self._channel.skew_seconds

    @skew_seconds.setter
    def skew_seconds(self, value: float | None) -> None:
        self._channel.skew_seconds = value

    @property
    def on_trust(self) -> Callable[[wire.Trust], None] | None:
        """As the channel's."""
        return self._hear

    @on_trust.setter
    def on_trust(self, hear: Callable[[wire.Trust], None] | None) -> None:
        self._hear = hear
        self._channel.on_trust = self._told

    def _told(self, told: wire.Trust) -> None:
        self.roots.note_issuing(told.issuer)
        if self._hear is not None:
            self._hear(told)

    def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        """The stream of this relay's cluster."""
        return self._channel.messages(since)

    async def renew(self, request: str, proof: str = "") -> Mapping[str, Any]:
        """A certificate for a request."""
        return await self._channel.renew(request, proof)

    async def recover(self, certificate: str, request: str) -> Mapping[str, Any]:
        """A certificate for one that has expired."""
        return await self._channel.recover(certificate, request)

    async def confirm_trust(self, digest: str) -> None:
        """Tell that this bundle is trusted: once it is known whom the authorities below it sign for."""
        await self.ask_authorities()
        await self._channel.confirm_trust(digest)

    def adopt(self) -> None:
        """From now on show and trust what is on disk."""
        self._channel.adopt()
        self.roots.look()
        self.on_news()

    async def ask_authorities(self) -> None:
        """Know the authorities. Raises Unavailable, InvalidInput."""
        self.roots.take(await self.ask("GET", "/api/v1/ca"))
        self.on_news()

    async def ask(self, method: str, path: str, body: Any = None, *, behalf: str = "", source: str = "") -> dict[str, Any]:  # fmt: skip
        """The control plane's answer. `behalf`: the header of the node that this is for; `source`: the address that it came from. Raises
        Unavailable, and what was refused as it was."""
        headers = {name: text for name, text in ((HEADER, behalf), (SOURCE, source)) if text}
        try:
            response = await self._channel.http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            said = f"this relay does not reach the control plane: {str(error) or type(error).__name__}"
            raise Unavailable(said, hint="nodes that are known go on; try again when it is back") from error
        if not response.is_success:
            raise _refused(response)
        answer = response.json() if response.content else {}
        return answer if isinstance(answer, dict) else {}

    async def close(self) -> None:
        """Give connections back."""
        await self._channel.close()


def _refused(response: httpx.Response) -> CausewayError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    kind = REFUSALS.get(response.status_code, Unavailable)
    faults = [Fault(str(f.get("pointer", "")), str(f.get("detail", ""))) for f in problem.get("errors", [])]
    detail = problem.get("detail") or f"the control plane answered {response.status_code}"
    return kind(str(detail), hint=str(problem.get("hint", "")), faults=faults)


def _nothing() -> None:
    """Nobody listens yet."""
