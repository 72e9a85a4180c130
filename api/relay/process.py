"""The process of `causeway relay run`: one event loop, the stream from the control plane, the agents' routes over TLS."""

import asyncio
import fcntl
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from api.connections import HttpConfig, HttpServer, give_back
from api.relay.plane import RelayPlane
from api.relay.settings import RelaySettings
from api.relay.tls import RelayTls
from api.rest.relaying.application import relay_application
from api.serve import listener
from federation.errors import CausewayError, Conflict, InvalidInput
from nodeagent.control import identity
from nodeagent.pace import Clock, SystemClock


def run(settings: RelaySettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises InvalidInput, Conflict."""
    code = 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with _alone(settings):
        try:
            asyncio.run(_run(settings))
        except* CausewayError as group:
            code = 1
            print(f"causeway relay: {group.exceptions[0]}", file=sys.stderr)  # noqa: T201 - the process's last word
    return code


async def _run(settings: RelaySettings) -> None:
    with listener(settings.listen) as opened:
        async with serving(settings, opened, SystemClock()) as (plane, server):
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
            host, port = opened.getsockname()[:2]
            said = f"relay of {settings.cluster}: https://{host}:{port}  control plane: {settings.server}"
            known = plane.upstream.roots.all
            if known:
                said += f"  CA hash: {plane.upstream.roots.server_pin}"
            print(said, file=sys.stderr, flush=True)  # noqa: T201
            await server.ended.wait()


class RelayServer(HttpServer):
    """Says when it has ended."""

    def __init__(self, config: HttpConfig) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    async def serve_on(self, opened: socket.socket) -> None:
        """Until it is stopped."""
        try:
            await self.serve(sockets=[opened])
        finally:
            self.ended.set()


@asynccontextmanager
async def serving(
    settings: RelaySettings, opened: socket.socket, clock: Clock
) -> AsyncIterator[tuple[RelayPlane, RelayServer]]:
    """A relay that serves on a socket until the end of the block. Raises InvalidInput."""
    if identity.load(settings.state_dir) is None:
        raise InvalidInput("this relay has no certificate", hint="run: causeway relay join")
    plane = RelayPlane(settings, clock)
    plane.load()
    tls = RelayTls(settings.state_dir, plane.upstream.roots)
    try:
        tls.start()
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificate cannot be used: {error}", hint="join again") from error
    plane.upstream.on_news = tls.follow
    server = RelayServer(HttpConfig(relay_application(plane), tls.context))
    async with asyncio.TaskGroup() as group:
        work = group.create_task(plane.run(), name="relay")
        trimmer = group.create_task(give_back(server), name="give memory back")
        served = group.create_task(server.serve_on(opened), name="serve")
        try:
            yield plane, server
        finally:
            server.stop()
            await served
            work.cancel()
            trimmer.cancel()


@contextmanager
def _alone(settings: RelaySettings) -> Iterator[None]:
    """The only relay of a state directory. Raises Conflict, InvalidInput."""
    path = settings.state_dir / "relay.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another relay holds {settings.state_dir}", hint="stop that one first") from error
        yield
    finally:
        os.close(file)
