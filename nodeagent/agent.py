"""The process of `causeway agent`: follow, decide, converge, report. Fail static: nothing here ends what the kernel does."""

import asyncio
import json
import random
import signal
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import structlog

from federation.errors import CausewayError, InvalidInput
from federation.resources.metadata import ObjectKey
from nodeagent import cache
from nodeagent.client import ControlChannel, HttpChannel
from nodeagent.desired import desired
from nodeagent.drivers import ObjectReport
from nodeagent.reconcile import Drivers, Reconciler
from nodeagent.replica import Replica, State, resources_of

LOG = structlog.get_logger("agent")
MAX_BACKOFF_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Who this node is and where it keeps things; from `agent.toml` in the state directory, which joining writes."""

    server: str
    cluster: str
    node: str
    state_dir: Path
    credential: str = field(repr=False, default="")
    pin_dir: str = ""
    """Folder of this node's pins below a bpffs; empty: /sys/fs/bpf/causeway/<cluster>-<node>."""
    interface: str = "cw-wg0"
    """WireGuard interface, at most 15 characters."""
    listen_port: int = 51820
    resync_seconds: int = 30

    @property
    def pins(self) -> Path:
        """Where pins are."""
        return Path(self.pin_dir or f"/sys/fs/bpf/causeway/{self.cluster}-{self.node}")

    @property
    def key(self) -> ObjectKey:
        """This node."""
        return ObjectKey("Node", self.cluster, "", self.node)


def load_settings(state_dir: Path) -> AgentSettings:
    """Read what joining wrote. Raises InvalidInput."""
    try:
        content = tomllib.loads((state_dir / "agent.toml").read_text())
        credential = (state_dir / "credential").read_text().strip()
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"this node has not joined: {error}", hint="run: causeway join") from error
    known = {f.name for f in fields(AgentSettings)} - {"state_dir", "credential"}
    if unknown := sorted(content.keys() - known):
        raise InvalidInput(
            f"unknown keys in agent.toml: {', '.join(unknown)}", hint=f"known: {', '.join(sorted(known))}"
        )
    return AgentSettings(state_dir=state_dir, credential=credential, **content)


class Agent:
    """Joins the parts: channel, replica, cache, reconciler."""

    def __init__(
        self, settings: AgentSettings, channel: ControlChannel, drivers: Drivers, jitter: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.channel = channel
        self.reconciler = Reconciler(drivers, settings.resync_seconds)
        self.jitter = jitter
        self.unread: list[tuple[str, str]] = []
        self.cache_fault = ""
        self.key_fault = ""
        self.is_connected = False
        self.has_state = False

    async def run(self, public_key: str = "") -> None:
        """For ever: start from the cache, follow the control plane, converge, report."""
        state, wrong = cache.load(self._cache_path)
        if wrong:
            LOG.warning("cache was corrupt", detail=wrong)
        if state.documents:
            self._want(state)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reconciler.run(self._converged), name="reconcile")
            group.create_task(self._follow(Replica(state), public_key), name="follow")

    @property
    def _cache_path(self) -> Path:
        return self.settings.state_dir / "cache.json"

    async def _follow(self, replica: Replica, public_key: str) -> None:
        failures = 0
        while True:
            try:
                since = replica.state.revision or None
                async for message in self.channel.messages(since):
                    if not self.is_connected:
                        self.is_connected, failures = True, 0
                        await self._publish(public_key)
                    before = replica.state
                    state = replica.take(message)
                    if state is not None and (state.documents != before.documents or not self.has_state):
                        self._want(state)
                        await self._save(state)
                    elif state is not None and state.revision != before.revision:
                        self._want(state)
            except CausewayError as error:
                LOG.warning("control plane was lost", code=error.code, detail=error.message)
            self.is_connected = False
            self._write_status(replica.state.revision)
            failures += 1
            await asyncio.sleep(min(0.1 * 2**failures, MAX_BACKOFF_SECONDS) * self.jitter())

    async def _publish(self, public_key: str) -> None:
        """Tell our key; a refusal costs the tunnels, never the policy."""
        self.key_fault = ""
        if not public_key:
            return
        try:
            await self.channel.publish_key(public_key, self.settings.listen_port)
        except CausewayError as error:
            self.key_fault = error.message
            LOG.error("public key was refused", code=error.code, detail=error.message)

    def _want(self, state: State) -> None:
        """Hand a state to the reconciler; one that cannot be compiled is said so, and the last good one stays enforced."""
        resources, self.unread = resources_of(state.documents.values())
        try:
            wanted = desired(resources, self.settings.key, state.revision)
        except (CausewayError, KeyError, ValueError) as error:
            LOG.error("state was not compiled", revision=state.revision, detail=str(error))
            self.unread.append(
                (f"revision {state.revision}", f"not compiled, the last good state is kept: {error}")
            )
            self.reconciler.retry()
            return
        self.has_state = True
        self.reconciler.want(wanted)

    async def _save(self, state: State) -> None:
        try:
            await asyncio.to_thread(cache.save, self._cache_path, state)
            self.cache_fault = ""
        except CausewayError as error:
            self.cache_fault = str(error)
            LOG.error("cache was not written", detail=error.message)

    async def _converged(self, revision: int, faults: tuple[ObjectReport, ...]) -> None:
        named = [(report.key, report.reason, report.message) for report in faults]
        named += [(key, "unreadable", message) for key, message in self.unread]
        named += [
            (key, "agent", said)
            for key, said in (("cache", self.cache_fault), ("public key", self.key_fault))
            if said
        ]
        self._write_status(revision, named)
        try:
            await self.channel.report(revision, named)
        except CausewayError as error:
            LOG.info("report was not delivered", code=error.code)

    def _write_status(self, revision: int, faults: list[tuple[str, str, str]] | None = None) -> None:
        body = {"revision": revision, "connected": self.is_connected, "cache": self.cache_fault or "ok"}
        if faults is not None:
            body["faults"] = [list(fault) for fault in faults]
        path = self.settings.state_dir / "status.json"
        try:
            path.with_suffix(".new").write_text(json.dumps(body))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            LOG.error("status was not written", detail=str(error))


async def run_agent(settings: AgentSettings, drivers: Drivers, public_key: str) -> None:
    """Run until SIGTERM or SIGINT; the kernel goes on as it is."""
    channel = HttpChannel(settings.server, settings.credential)
    agent = Agent(settings, channel, drivers, jitter=lambda: random.uniform(0.5, 1.0))
    work = asyncio.ensure_future(agent.run(public_key))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        LOG.info("agent was stopped", node=settings.key.path)
    finally:
        await channel.close()
