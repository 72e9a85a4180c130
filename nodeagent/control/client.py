"""The control client: the stream down, key and reports up, over HTTPS with the node's certificate (or HTTP with a bearer credential)."""

import json
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from federation import wire
from federation.errors import CausewayError, Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from federation.policy.tables import RuleReference
from nodeagent.control import identity, inflow
from nodeagent.pace import SystemClock
from nodeagent.settings import Secret
from nodeagent.status import Faults

Counts = Mapping[RuleReference, tuple[int, int]]
"""Packets and bytes of policies' rules, ever."""

READ_TIMEOUT_SECONDS = 30.0
"""Three of the control plane's keep-alives."""
MOST_SAID = 2000
"""Characters of a refusal."""
MOST_TOLD = 2 << 20
"""Bytes of faults in one report: the control plane takes a body of 8 MiB, and where everything is wrong the first thousands say it."""
UNFIT = re.compile("[\x00\ud800-\udfff]")
"""What is no character of text: the control plane refuses a report that holds any."""
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
        headers = {"Accept-Encoding": "identity"}
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
            packed = {"Accept-Encoding": inflow.CODING}
            async with self.http.stream("GET", "/agent/v1/stream", params=ask, headers=packed) as response:
                self._look_at_clock(response)
                if response.status_code != 200:
                    raise _refusal(response.status_code, await inflow.body(response))
                async with aclosing(inflow.lines(response)) as lines:
                    async for line in lines:
                        message = wire.decode(line)
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
        await self._send("POST", "/agent/v1/report", {"revision": revision, "faults": _told(faults)})

    async def count(self, counts: Counts) -> None:
        """Tell totals of rules that have changed; a tier's end is no policy's rule."""
        told = [
            {"kind": rule.policy.kind, "policy": _fit(rule.policy.path), "section": rule.section, "rule": rule.index, "packets": packets, "bytes": size}
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
        answer = _json(await self._answer(http, "POST", path, body))
        if not isinstance(answer, dict):
            raise Unavailable(
                f"the control plane's answer to {path} is no JSON: is there a proxy in between?"
            )
        return answer

    async def _answer(self, http: httpx.AsyncClient, method: str, path: str, body: object) -> bytes:
        try:
            async with http.stream(method, path, json=body) as response:
                self._look_at_clock(response)
                said = await inflow.body(response)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _away(error) from error
        if not response.is_success:
            raise _refusal(response.status_code, said)
        return said

    def _look_at_clock(self, response: httpx.Response) -> None:
        """HTTP's Date has whole seconds; the way of the answer is within that."""
        try:
            told = parsedate_to_datetime(response.headers["date"])
        except (KeyError, ValueError, OverflowError):
            return
        self.skew_seconds = (told.replace(tzinfo=told.tzinfo or UTC) - self._now()).total_seconds()


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"the control plane does not answer: {str(error) or type(error).__name__}")


def _refusal(code: int, said: bytes) -> CausewayError:
    problem = _json(said)
    text = problem.get("detail", "") if isinstance(problem, dict) else said[:200].decode(errors="replace")
    kind = REFUSALS.get(code, Unavailable)
    hint = JOIN_AGAIN if kind in (Unauthenticated, Forbidden) else ""
    return kind(f"the control plane refused ({code}): {_fit(str(text))[:MOST_SAID]}", hint=hint)


def _json(said: bytes) -> Any:
    """What a body says; None: it is no JSON."""
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return None


def _told(faults: Faults) -> list[dict[str, str]]:
    """As many faults as a report has room for, and how many more there are."""
    told: list[dict[str, str]] = []
    room = MOST_TOLD
    for key, reason, message in faults:
        fault = {"key": _fit(key), "reason": _fit(reason), "message": _fit(message)}
        room -= sum(len(text) for text in fault.values())
        if room < 0:
            more = f"{len(faults) - len(told)} more faults: see causeway agent status"
            return [*told, {"key": "report", "reason": "too-large", "message": more}]
        told.append(fault)
    return told


def _fit(text: str) -> str:
    return UNFIT.sub("\ufffd", text)
