"""The control client: the stream down, key and reports up, over HTTPS with the node's certificate (or HTTP with a bearer credential)."""

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from federation import wire
from federation.errors import CausewayError, Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from federation.policy.tables import RuleReference
from nodeagent.control import identity
from nodeagent.pace import SystemClock
from nodeagent.settings import Secret
from nodeagent.status import Faults

Counts = Mapping[RuleReference, tuple[int, int]]
"""Packets and bytes of policies' rules, ever."""

READ_TIMEOUT_SECONDS = 30.0
"""Three of the control plane's keep-alives."""
JOIN_AGAIN = (
    "if the node or its credential was removed, run `causeway join` again; the kernel goes on as it is"
)
REFUSALS: dict[int, type[CausewayError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    409: Conflict,
    422: InvalidInput,
}


class ControlChannel(Protocol):
    """What an agent needs of the control plane. All raise Unavailable (away: soon again), or a refusal that only a person
    can change: Unauthenticated, Forbidden, Conflict, InvalidInput."""

    def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        """The stream from a revision, or from a snapshot. Its end is the control plane's doing."""
        ...

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        """Tell the node's WireGuard facts."""
        ...

    async def report(self, revision: int, faults: Faults) -> None:
        """Tell what the kernel enforces."""
        ...

    async def count(self, counts: Counts) -> None:
        """Tell totals of rules that have changed."""
        ...


class HttpChannel:
    """ControlChannel, and CertificateChannel, over HTTP. `identity_dir` holds the node's certificate and what it trusts; without it `credential`
    is what joining gave this node."""

    def __init__(
        self,
        server: str,
        credential: Secret,
        transport: httpx.AsyncBaseTransport | None = None,
        identity_dir: Path | None = None,
        now: Callable[[], datetime] = SystemClock().now,
    ) -> None:
        self.skew_seconds: float | None = None
        self.on_trust: Callable[[wire.Trust], None] | None = None
        self._server = server
        self._credential = credential
        self._transport = transport
        self._identity_dir = identity_dir
        self._now = now
        self._left: list[httpx.AsyncClient] = []
        self.http = self._client()

    def _client(self, *, shows: bool = True) -> httpx.AsyncClient:
        verify: ssl.SSLContext | bool = True
        headers = {}
        if self._identity_dir is not None:
            verify = identity.context(self._identity_dir, shows=shows)
        else:
            headers["Authorization"] = f"Bearer {self._credential.reveal()}"
        timeout = httpx.Timeout(10, read=READ_TIMEOUT_SECONDS)
        return httpx.AsyncClient(
            base_url=self._server, headers=headers, timeout=timeout, transport=self._transport, verify=verify
        )

    def adopt(self) -> None:
        """From now on show and trust what is on disk. The stream that stands goes on as it began."""
        fresh = self._client()
        self._left.append(self.http)
        self.http = fresh

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        """The stream from a revision, or from a snapshot. What it tells of trust goes to `on_trust`."""
        ask: dict[str, Any] = {} if since is None else {"since": since}
        if self._identity_dir is not None and (held := identity.load(self._identity_dir)):
            ask["trust"] = f"{identity.trust_digest(self._identity_dir)}:{held.issuer}"
        await self._close_left()
        try:
            async with self.http.stream("GET", "/agent/v1/stream", params=ask) as response:
                self._look_at_clock(response)
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    message = wire.decode(line.encode())
                    if not isinstance(message, wire.Trust):
                        yield message
                    elif self.on_trust is not None:
                        self.on_trust(message)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _away(error) from error

    async def renew(self, request: str, proof: str = "") -> Mapping[str, Any]:
        """A certificate for a request, over a connection that shows the one that is there. `proof` of its key a relay needs."""
        return await self._given(self.http, "/agent/v1/renew", {"csr": request, "proof": proof})

    async def recover(self, certificate: str, request: str) -> Mapping[str, Any]:
        """A certificate for one that has expired: it is not shown, for no handshake would take it."""
        async with self._client(shows=False) as http:
            return await self._given(http, "/agent/v1/recover", {"certificate": certificate, "csr": request})

    async def confirm_trust(self, digest: str) -> None:
        """Tell that this bundle is trusted."""
        await self._send("POST", "/agent/v1/trust", {"digest": digest})

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        """Tell the node's WireGuard facts."""
        await self._send("PUT", "/agent/v1/key", {"publicKey": public_key, "listenPort": listen_port})

    async def report(self, revision: int, faults: Faults) -> None:
        """Tell what the kernel enforces."""
        named = [{"key": key, "reason": reason, "message": message} for key, reason, message in faults]
        await self._send("POST", "/agent/v1/report", {"revision": revision, "faults": named})

    async def count(self, counts: Counts) -> None:
        """Tell totals of rules that have changed; a tier's end is no policy's rule."""
        told = [
            {"kind": rule.policy.kind, "policy": rule.policy.path, "section": rule.section, "rule": rule.index, "packets": packets, "bytes": size}
            for rule, (packets, size) in counts.items()
            if rule.policy is not None and rule.index is not None
        ]  # fmt: skip
        await self._send("POST", "/agent/v1/counts", {"counts": told})

    async def close(self) -> None:
        """Give connections back."""
        await self._close_left()
        await self.http.aclose()

    async def _close_left(self) -> None:
        while self._left:
            await self._left.pop().aclose()

    async def _send(self, method: str, path: str, body: object) -> None:
        await self._answer(self.http, method, path, body)

    async def _given(self, http: httpx.AsyncClient, path: str, body: object) -> Mapping[str, Any]:
        answer = (await self._answer(http, "POST", path, body)).json()
        return answer if isinstance(answer, dict) else {}

    async def _answer(self, http: httpx.AsyncClient, method: str, path: str, body: object) -> httpx.Response:
        try:
            response = await http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise _away(error) from error
        self._look_at_clock(response)
        if not response.is_success:
            raise _refusal(response)
        return response

    def _look_at_clock(self, response: httpx.Response) -> None:
        """HTTP's Date has whole seconds; the way of the answer is within that."""
        try:
            told = parsedate_to_datetime(response.headers["date"])
        except (KeyError, ValueError):
            return
        self.skew_seconds = (told.replace(tzinfo=told.tzinfo or UTC) - self._now()).total_seconds()


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"the control plane does not answer: {str(error) or type(error).__name__}")


def _refusal(response: httpx.Response) -> CausewayError:
    try:
        problem = response.json()
        detail = str(problem.get("detail", "")) if isinstance(problem, dict) else ""
    except ValueError:
        detail = response.text[:200]
    code = response.status_code
    kind = REFUSALS.get(code, Unavailable)
    hint = JOIN_AGAIN if kind in (Unauthenticated, Forbidden) else ""
    return kind(f"the control plane refused ({code}): {detail}", hint=hint)
