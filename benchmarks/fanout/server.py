"""One replica with TLS, whose agents have bearer credentials: thousands of certificates are not what is measured. `python -m benchmarks.fanout.server PORT DATABASE_URL CERTIFICATE KEY`; the administrator's token is its first line."""

import asyncio
import resource
import socket
import sys

from api.connections import BoundedProtocol, HttpConfig, HttpServer, give_back
from api.rest.app import application
from api.serve import listener
from api.tls import server_context
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings


async def serve(port: int, url: str, certificate: str, key: str) -> None:
    """Until it is killed."""
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        listening: socket.socket = listener(("127.0.0.1", port))
        print((await plane.access.create_token("benchmark")).text, flush=True)
        context = server_context()
        context.load_cert_chain(certificate, key)
        server = HttpServer(HttpConfig(application(plane), context, protocol=BoundedProtocol))
        async with asyncio.TaskGroup() as group:
            group.create_task(give_back(server))
            await server.serve(sockets=[listening])


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
