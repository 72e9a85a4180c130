"""A real `causeway serve` with TLS in this process's loop, on loopback, and nodes that join it as the command line does."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import httpx

from api.connections import HttpConfig, HttpServer
from api.rest.app import application
from api.tls import ServerTls
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, JoinRequest, TokenBounds, Verb
from controlplane.service import ControlPlane, Settings
from federation.resources.codec import decode
from nodeagent.control import csr, identity
from nodeagent.control.client import HttpChannel
from nodeagent.settings import Secret


@dataclass
class Serving:
    """What stands."""

    plane: ControlPlane
    tls: ServerTls
    folder: Path
    port: int
    user: str
    joined: dict[str, Path] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def change(self, kind: str, name: str, spec: dict[str, Any], verb: Verb = Verb.APPLY, **meta: Any) -> None:  # fmt: skip
        resource = decode({"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec})  # fmt: skip
        given = None if verb is Verb.DELETE else resource
        await self.plane.change([Change(verb=verb, key=resource.key, resource=given)], actor=inside("t"))

    async def join(self, cluster: str, second: int, name: str = "n1") -> Path:
        """A node's state directory."""
        state = self.folder / f"{cluster}-{name}"
        state.mkdir(exist_ok=True)
        token = await self.plane.create_join_token(cluster, 60, 1, actor=inside("t"))
        made = await asyncio.to_thread(csr.request)
        issued = await self.plane.certificates.join(
            JoinRequest(
                token=token.text,
                cluster=cluster,
                node=name,
                os="linux",
                addresses=(IPv4Address(f"192.0.2.{second}"),),
                pod_prefixes=(IPv4Network(f"10.{second}.1.0/24"),),
            ),
            made.csr,
        )
        identity.save(state, made.key, answer_of(issued))
        return state

    async def join_relay(
        self, cluster: str, name: str = "r1", names: tuple[str, ...] = ("127.0.0.1",)
    ) -> Path:
        """A relay's state directory."""
        state = self.folder / f"{cluster}-relay-{name}"
        state.mkdir(exist_ok=True, mode=0o700)
        await self.change("Relay", name, {"names": list(names)}, cluster=cluster)
        bounds = TokenBounds(role="relay", node=name)
        token = await self.plane.create_join_token(cluster, 60, 1, actor=inside("t"), bounds=bounds)
        made = await asyncio.to_thread(csr.request)
        asked = JoinRequest(token=token.text, cluster=cluster, node=name, os="linux", addresses=(), pod_prefixes=(), role="relay")  # fmt: skip
        identity.save(state, made.key, answer_of(await self.plane.certificates.join(asked, made.csr)))
        return state

    def channel(self, state: Path) -> HttpChannel:
        return HttpChannel(self.url, Secret(""), identity_dir=state)

    def as_user(self) -> httpx.AsyncClient:
        context = identity.context(self.folder, shows=False)
        headers = {"Authorization": f"Bearer {self.user}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, verify=context)


def answer_of(issued: Any) -> dict[str, str]:
    """As the route answers."""
    from api.rest.trust.routes import given

    found: dict[str, str] = json.loads(bytes(given(issued).body))
    return found


@asynccontextmanager
async def serving(folder: Path, life: timedelta = timedelta(hours=12)) -> AsyncIterator[Serving]:
    """Two clusters, nobody joined yet."""
    clock = SystemClock()
    where = Settings(database_url=f"sqlite+aiosqlite:///{folder}/i.db", certificate_life=life)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with ControlPlane.open(where, clock) as plane:
            await plane.certificates.authorities.open(folder, clock.now())
            tls = ServerTls(plane.certificates.authorities, ["127.0.0.1"], folder, clock)
            tls.start()
            config = HttpConfig(application(plane), tls.context)
            server = HttpServer(config)
            task = asyncio.ensure_future(server.serve(sockets=[listener]))
            user = (await plane.access.create_token("tester")).text
            found = Serving(plane, tls, folder, listener.getsockname()[1], user)
            for second, cluster in ((10, "dc1"), (20, "aws1")):
                await found.change("Cluster", cluster, {"prefixes": [f"10.{second}.0.0/16"]})
            try:
                yield found
            finally:
                server.should_exit = True
                await task
