"""Many agents in one process: each with a connection and TLS of its own, each unpacking what it is sent; none acts on it.

`python -m benchmarks.fanout.crowd HOST PORT CA_FILE CREDENTIALS_FILE`. Says `ready SECONDS BYTES` once all have their first state; a line on its standard
input ends it: it says, as JSON, when each agent had each revision, and the bytes since.
"""

import asyncio
import json
import random
import resource
import ssl
import sys
import time
import zlib
from pathlib import Path

COMMIT, IN_SYNC = b'"op":"commit","revision":', b'"op":"in_sync","revision":'
BACK_OFF = (0.5, 3.0)


class Agent(asyncio.Protocol):
    """One connection."""

    def __init__(self, crowd: "Crowd", credential: str) -> None:
        self.crowd = crowd
        self.credential = credential
        self.is_there = False
        self.unpack = zlib.decompressobj()
        self.buffer = b""
        self.has_head = False
        self.revision = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        head = f"GET /agent/v1/stream HTTP/1.1\r\nHost: x\r\nAccept-Encoding: deflate\r\nAuthorization: Bearer {self.credential}\r\n\r\n"
        transport.write(head.encode())
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        now = time.monotonic()
        self.crowd.bytes += len(data)
        self.buffer += data
        if not self.has_head:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 200 " not in head.split(b"\r\n")[0]:
                self.transport.abort()
                return
            self.has_head, self.buffer = True, rest
        text = b"".join(map(self.unpack.decompress, self._chunks()))
        if not self.is_there:
            if IN_SYNC in text:
                self.is_there = True
                self.crowd.arrived(now)
        elif (at := text.rfind(COMMIT)) >= 0:
            revision = int(text[at + len(COMMIT) : text.index(b"}", at)])
            if revision != self.revision:  # else a sign of life
                self.revision = revision
                self.crowd.times.setdefault(revision, []).append(now)

    def connection_lost(self, _error: Exception | None) -> None:
        """Come back, as agents do."""
        self.crowd.lost(self)

    def _chunks(self) -> list[bytes]:
        found, at = [], 0
        while (end := self.buffer.find(b"\r\n", at)) >= 0:
            size = int(self.buffer[at:end], 16)
            if len(self.buffer) < end + 2 + size + 2:
                break
            found.append(self.buffer[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        self.buffer = self.buffer[at:]
        return found


class Crowd:
    """All of them."""

    def __init__(self, address: tuple[str, int], ca_file: str, credentials: list[str]) -> None:
        self.address = address
        self.context = ssl.create_default_context(cafile=ca_file)
        self.context.check_hostname = False
        self.credentials = credentials
        self.times: dict[int, list[float]] = {}
        self.bytes = 0
        self.losses = 0
        self.there = 0
        self.all_there = asyncio.Event()
        self.last = 0.0
        self.is_ending = False

    def arrived(self, now: float) -> None:
        """One has its first state."""
        self.there += 1
        self.last = now
        if self.there == len(self.credentials):
            self.all_there.set()

    def lost(self, agent: Agent) -> None:
        """A connection ended."""
        if self.is_ending:
            return
        self.losses += 1
        self.there -= agent.is_there
        self.group.create_task(self._come(agent.credential, random.uniform(*BACK_OFF)))

    async def run(self) -> None:
        """Until it is told to end."""
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self.group:
            for credential in self.credentials:
                self.group.create_task(self._come(credential, 0))
            await self.all_there.wait()
            print("ready", self.last - began, self.bytes, self.losses, flush=True)
            self.bytes = 0
            await loop.run_in_executor(None, sys.stdin.readline)
            self.is_ending = True
        print(json.dumps({"times": self.times, "bytes": self.bytes, "losses": self.losses}), flush=True)

    async def _come(self, credential: str, after: float) -> None:
        while not self.is_ending:
            await asyncio.sleep(after)
            after = random.uniform(*BACK_OFF)
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: Agent(self, credential), *self.address, ssl=self.context, server_hostname="localhost", ssl_handshake_timeout=60
                )  # fmt: skip
            except OSError:
                self.losses += 1
            else:
                return


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, port, ca, path = sys.argv[1:]
    asyncio.run(Crowd((host, int(port)), ca, json.loads(Path(path).read_text())).run())
