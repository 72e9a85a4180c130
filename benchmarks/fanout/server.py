"""One replica with TLS, whose agents have bearer credentials: thousands of certificates are not what is measured. `python -m benchmarks.fanout.server PORT DATABASE_URL CERTIFICATE KEY`; the administrator's token is its first line."""

import asyncio
import resource
import socket
import sys
from asyncio.sslproto import SSLProtocol

import uvicorn

from api.rest.app import application
from api.serve import listener
from api.tls import READ_BYTES
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings


async def serve(port: int, url: str, certificate: str, key: str) -> None:
    """Until it is killed."""
    SSLProtocol.max_size = READ_BYTES  # as `causeway serve` does
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        listening: socket.socket = listener(("127.0.0.1", port))
        print((await plane.access.create_token("benchmark")).text, flush=True)
        config = uvicorn.Config(
            application(plane), log_level="error", lifespan="off", ssl_certfile=certificate, ssl_keyfile=key, access_log=False
        )  # fmt: skip
        await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
