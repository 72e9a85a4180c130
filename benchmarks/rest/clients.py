"""Clients that ask one after the other over connections that stay, as fast as they are answered. Only the standard library.

`python -m benchmarks.rest.clients PORT TOKEN KIND SECONDS CONNECTIONS ENDPOINTS` prints, as JSON, the answers' times in seconds and how long all took.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable

from benchmarks.fanout.federation import policy

Asked = tuple[str, str, bytes, str]
"""Method, path, body, more headers."""


def _read(endpoints: int) -> Asked:
    number = random.randrange(endpoints)
    return "GET", f"/api/v1/endpoints/c0/ns{number % 50}/e{number}", b"", ""


def _page(_endpoints: int) -> Asked:
    return "GET", "/api/v1/endpoints?limit=500", b"", ""


def _selected(_endpoints: int) -> Asked:
    return "GET", f"/api/v1/endpoints?limit=500&labelSelector=app%3D%3D'app{random.randrange(200)}'", b"", ""


def _write(_endpoints: int) -> Asked:
    name = f"p{random.randrange(200)}"
    body = json.dumps(policy(name, random.randrange(1, 65535))).encode()
    return "PUT", f"/api/v1/globalnetworkpolicies/{name}", body, ""


def _same(_endpoints: int) -> Asked:
    return "GET", "/api/v1/endpoints?limit=500", b"", "If-None-Match: {etag}\r\n"


KINDS: dict[str, Callable[[int], Asked]] = {
    "read": _read, "page": _page, "selected": _selected, "write": _write, "unchanged": _same,
}  # fmt: skip


async def one(port: int, token: str, ask: Callable[[], Asked], until: float, times: list[float]) -> None:
    """One connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    etag = ""
    while time.perf_counter() < until:
        method, path, body, more = ask()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        head += more.format(etag=etag) if etag else ""
        began = time.perf_counter()
        writer.write(head.encode() + b"\r\n" + body)
        etag = await answered(reader) or etag
        times.append(time.perf_counter() - began)
    writer.close()


async def answered(reader: asyncio.StreamReader) -> str:
    """Take an answer; its ETag. Raises RuntimeError for a refusal."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if status.split()[1] not in ("200", "201", "304"):
            raise RuntimeError(f"{status}: {body!r}")
    return headers.get("etag", "")


async def main(port: int, token: str, kind: str, seconds: float, connections: int, endpoints: int) -> None:
    """All of them."""
    times: list[float] = []
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one(port, token, lambda: KINDS[kind](endpoints), began + seconds, times))
    print(json.dumps({"times": times, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    _, port, token, kind, seconds, connections, endpoints = sys.argv
    asyncio.run(main(int(port), token, kind, float(seconds), int(connections), int(endpoints)))
