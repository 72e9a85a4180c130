"""Streams as who reads them has them: line by line, wherever the parts that were sent end."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast


async def whole_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes, in parts that end where lines do."""
    rest, generator = b"", cast(AsyncGenerator[bytes, None], chunks)
    async with aclosing(generator):
        async for chunk in generator:
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                yield whole + end
