"""What a relay is to its nodes: the agents' side of a control plane, whose state is a stream's and whose answers are the control plane's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from api.relay.certificates import RelayCertificates
from api.relay.delivery import Delivery
from api.relay.disk import Disk
from api.relay.feed import RelayFeed
from api.relay.roots import Roots
from api.relay.settings import RelaySettings
from api.relay.upstream import Upstream
from controlplane.fanout.streams import Before, Fanout, nothing
from controlplane.hub import Hub
from controlplane.intent import NodeReport, NodeSession, RuleCount
from controlplane.store.enrolment import node_key
from federation.errors import CausewayError
from federation.kinds.node import WireguardSpec
from nodeagent.control.renewal import Renewal
from nodeagent.pace import Backoff, Clock

DEFAULT_PORT = WireguardSpec(public_key="").listen_port


class RelayPlane:
    """Implements AgentService of `controlplane.intent`."""

    def __init__(self, settings: RelaySettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.hub = Hub()
        self.fanout = Fanout(self.hub, is_whole=True)
        self.disk = Disk(settings.state_dir)
        self.upstream = Upstream(settings.server, settings.state_dir, Roots(settings.state_dir))
        self.feed = RelayFeed(self.upstream, self.hub, self.disk, clock)
        self.certificates = RelayCertificates(settings.cluster, self.upstream, self.feed, clock)
        self.delivery = Delivery(self._send, clock)
        self._never = asyncio.Event()

    def load(self) -> None:
        """Start from what is on disk. Raises InvalidInput."""
        self.upstream.roots.load()
        self.feed.load()

    async def run(self) -> None:
        """For ever: follow, keep, renew, deliver."""
        renewal = Renewal(self.upstream, self.settings.state_dir, self.clock, lambda **_: None)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.feed.follow(), name="follow the control plane")
                group.create_task(self.feed.keep(), name="keep the state")
                group.create_task(self._greet(), name="greet the control plane")
                group.create_task(self.delivery.run(), name="deliver what nodes say")
                group.create_task(self.fanout.go_on(), name="signs of life")
                group.create_task(renewal.watch(), name="keep the certificate")
        finally:
            self.disk.close()
            await self.upstream.close()

    def stream(
        self, session: NodeSession, since: int | None, *, is_packed: bool = False, before: Before = nothing
    ) -> AsyncIterator[bytes]:
        """What an agent follows. Raises Unavailable when too many begin at once."""
        return self.fanout.stream(session.cluster, since, is_packed=is_packed, before=before)

    async def reach(self, revision: int) -> None:
        """Know what an agent knows already. Raises Unavailable: it keeps what it has."""
        await self.feed.reach(revision)

    async def publish_key(self, session: NodeSession, public_key: str, listen_port: int) -> None:
        """Tell a node's WireGuard facts, when they are new. Raises Unavailable while the control plane is away, and what it refuses."""
        told = ((self.feed.standing(node_key(session)) or {}).get("spec") or {}).get("wireguard") or {}
        if (told.get("publicKey"), told.get("listenPort", DEFAULT_PORT)) == (public_key, listen_port):
            return
        body = {"publicKey": public_key, "listenPort": listen_port}
        behalf = self.certificates.behalf_of(session)
        await self.upstream.ask("PUT", "/agent/v1/key", body, behalf=behalf)

    async def report(self, session: NodeSession, report: NodeReport) -> None:
        """Keep what a node's kernel enforces until the control plane has taken it."""
        self.delivery.report(session.node, self.certificates.behalf_of(session), report)

    async def count(self, session: NodeSession, counts: Sequence[RuleCount]) -> None:
        """Keep what a node's kernel has counted until the control plane has taken it."""
        self.delivery.count(session.node, self.certificates.behalf_of(session), counts)

    async def _send(self, path: str, behalf: str, body: object) -> dict[str, Any]:
        return await self.upstream.ask("POST", path, body, behalf=behalf)

    async def _greet(self) -> None:
        """Each time the control plane is there (again): know its authorities, tell all that nodes have said."""
        greeted, backoff = 0, Backoff(self.clock)
        while True:
            await self.feed.connected.wait()
            if self.feed.connections == greeted:
                await self.clock.wait(self._never, 1.0)
                continue
            greeting = self.feed.connections
            try:
                await self.upstream.ask_authorities()
            except CausewayError as error:
                await self.clock.wait(self._never, backoff.after(error))
                continue
            backoff.reset()
            self.delivery.again()
            greeted = greeting
