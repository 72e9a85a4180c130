"""The control client: the stream down, key and reports up, over HTTP."""

from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from federation import wire
from federation.errors import CausewayError, Forbidden, Unauthenticated, Unavailable

READ_TIMEOUT_SECONDS = 30.0
"""Three of the control plane's keep-alives."""


class ControlChannel(Protocol):
    """What an agent needs of the control plane. All raise Unavailable, Unauthenticated or Forbidden."""

    def messages(self, since: int | None) -> AsyncIterator[wire.Message]:
        """The stream from a revision, or from a snapshot."""
        ...

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        """Tell the node's WireGuard facts."""
        ...

    async def report(self, revision: int, faults: list[tuple[str, str, str]]) -> None:
        """Tell what the kernel enforces; faults are (key, reason, message)."""
        ...


class HttpChannel:
    """ControlChannel over HTTP. `credential` is what joining gave this node."""

    def __init__(self, server: str, credential: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=server,
            headers={"Authorization": f"Bearer {credential}"},
            timeout=httpx.Timeout(10, read=READ_TIMEOUT_SECONDS),
        )

    async def messages(self, since: int | None) -> AsyncIterator[wire.Message]:
        """The stream from a revision, or from a snapshot."""
        ask = {} if since is None else {"since": since}
        try:
            async with self.http.stream("GET", "/agent/v1/stream", params=ask) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    yield wire.decode(line.encode())
        except httpx.TransportError as error:
            raise Unavailable(f"the control plane does not answer: {error!r}") from error

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        """Tell the node's WireGuard facts."""
        await self._send("PUT", "/agent/v1/key", {"publicKey": public_key, "listenPort": listen_port})

    async def report(self, revision: int, faults: list[tuple[str, str, str]]) -> None:
        """Tell what the kernel enforces."""
        named = [{"key": key, "reason": reason, "message": message} for key, reason, message in faults]
        await self._send("POST", "/agent/v1/report", {"revision": revision, "faults": named})

    async def close(self) -> None:
        """Give connections back."""
        await self.http.aclose()

    async def _send(self, method: str, path: str, body: object) -> None:
        try:
            response = await self.http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"the control plane does not answer: {error!r}") from error
        if response.is_error:
            raise _refusal(response)


def _refusal(response: httpx.Response) -> CausewayError:
    try:
        detail = str(response.json().get("detail", ""))
    except ValueError:
        detail = response.text[:200]
    kinds: dict[int, type[CausewayError]] = {401: Unauthenticated, 403: Forbidden}
    return kinds.get(response.status_code, Unavailable)(
        f"the control plane refused ({response.status_code}): {detail}"
    )
