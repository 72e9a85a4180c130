"""One replica with TLS. `python -m benchmarks.fanout.server PORT DATABASE_URL CERTIFICATE KEY`; the administrator's token is its first line."""

import asyncio
import resource
import socket
import sys

import uvicorn

from api.rest.app import application
from api.serve import listener
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings


async def serve(port: int, url: str, certificate: str, key: str) -> None:
    """Until it is killed."""
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        listening: socket.socket = listener(("127.0.0.1", port))
        print(await plane.create_api_token("benchmark"), flush=True)
        config = uvicorn.Config(
            application(plane), log_level="error", lifespan="off", ssl_certfile=certificate, ssl_keyfile=key, access_log=False
        )  # fmt: skip
        await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
