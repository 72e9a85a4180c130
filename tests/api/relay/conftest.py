"""A control plane with TLS, and relays before it, in this process's loop, on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.relay import process
from api.relay.plane import RelayPlane
from api.relay.settings import RelaySettings
from nodeagent.control.client import HttpChannel
from nodeagent.settings import Secret
from tests.scenarios.conftest import EagerClock
from tests.scenarios.serving import Serving, serving


@pytest.fixture
async def centre(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as found:
        yield found


class Relaying:
    """A relay that serves."""

    def __init__(self, plane: RelayPlane, port: int) -> None:
        self.plane = plane
        self.url = f"https://127.0.0.1:{port}"

    def channel(self, state: Path) -> HttpChannel:
        return HttpChannel(self.url, Secret(""), identity_dir=state)

    async def until(self, holds: Callable[[], object]) -> None:
        await until(holds)


async def until(holds: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - whatever is waited for, it tells nobody
            await asyncio.sleep(0.02)


@asynccontextmanager
async def relaying(state: Path, server: str, cluster: str = "dc1", name: str = "r1") -> AsyncIterator[Relaying]:  # fmt: skip
    settings = RelaySettings(server=server, cluster=cluster, name=name, state_dir=state)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with process.serving(settings, listener, EagerClock()) as (plane, _):
            yield Relaying(plane, listener.getsockname()[1])
