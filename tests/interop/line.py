"""A TCP line between agents and replicas that the test cuts, delays and stalls."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

PIECE = 16 << 10


class Line:
    """Takes each connection to one of the replicas, whichever it meets."""

    def __init__(self, backs: Sequence[int], chance: random.Random) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.cuts = 0
        self._backs = backs
        self._chance = chance
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Line"]:
        """Until the end of the block."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.heal()
            self.cut(1.0)

    def cut(self, share: float) -> None:
        """Reset so many of the connections in the middle of whatever they say."""
        for writer in list(self._open):
            if self._chance.random() < share:
                self.cuts += 1
                writer.transport.abort()

    def heal(self) -> None:
        """It is a good line again."""
        self.delay_seconds = 0.0
        self.goes_on.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._chance.choice(self._backs)
        try:
            far, out = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, out}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, out))
                group.create_task(self._pump(far, writer))
        finally:
            self._open -= {writer, out}
            for end in (writer, out):
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(self._chance.randint(1, PIECE)):
                await self.goes_on.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()  # the other direction ends too
