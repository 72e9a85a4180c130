"""The control client: the stream down, key and reports up, over HTTP."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import httpx

from federation import wire
from federation.errors import CausewayError, Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable
from federation.policy.tables import RuleReference
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
    """ControlChannel over HTTP. `credential` is what joining gave this node."""

    def __init__(
        self, server: str, credential: Secret, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.http = httpx.AsyncClient(
            base_url=server,
            headers={"Authorization": f"Bearer {credential.reveal()}"},
            timeout=httpx.Timeout(10, read=READ_TIMEOUT_SECONDS),
            transport=transport,
        )

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        """The stream from a revision, or from a snapshot."""
        ask = {} if since is None else {"since": since}
        try:
            async with self.http.stream("GET", "/agent/v1/stream", params=ask) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    yield wire.decode(line.encode())
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _away(error) from error

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
        await self.http.aclose()

    async def _send(self, method: str, path: str, body: object) -> None:
        try:
            response = await self.http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise _away(error) from error
        if not response.is_success:
            raise _refusal(response)


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
