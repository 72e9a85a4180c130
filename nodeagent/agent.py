"""The process of `causeway agent`: follow, decide, converge, report. Fail static: nothing here ends what the kernel does.

Each stage is a job of its own and leaves the next one its newest value, so that none waits for a slower one::

    follow ──state──▶ decide (thread) ──desired──▶ reconcile (thread) ──report──▶ deliver
        └────state──▶ keep (cache, thread)     every job ──status──▶ write (thread)
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from federation.errors import CausewayError, Forbidden, Unauthenticated, Unavailable
from nodeagent.control import cache
from nodeagent.control.client import ControlChannel, Counts, HttpChannel
from nodeagent.control.renewal import Renewal
from nodeagent.control.replica import Replica, State
from nodeagent.control.reporter import Reporter
from nodeagent.desired import Decider
from nodeagent.drivers import Desired, ObjectReport
from nodeagent.pace import LASTED_SECONDS, Backoff, Clock, Latest, SystemClock
from nodeagent.reconcile import Drivers, Reconciler
from nodeagent.settings import AgentSettings
from nodeagent.status import AgentStatus, Faults, StatusBook, birth_of, write_status

LOG = structlog.get_logger("agent")
COUNT_SECONDS = 30.0
"""Between two tellings of what rules have counted."""
COUNTS_AT_ONCE = 1000
"""What the control plane takes in one telling."""
Watcher = Callable[[Callable[[], None]], Awaitable[None]]
"""A job beside the agent: it gets `Reconciler.retry`, to call when it sees the kernel move."""


class Counting(Protocol):
    """Totals of rules, and which of them were told."""

    def untold(self, most: int) -> Counts:
        """Those that have changed since they were told, so many at most."""
        ...

    def told(self, counts: Counts) -> None:
        """These were taken."""
        ...


class Agent:
    """Joins the stages. `book` holds what it knows of itself."""

    def __init__(
        self, settings: AgentSettings, channel: ControlChannel, drivers: Drivers, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.channel = channel
        self.clock = clock or SystemClock()
        self.reconciler = Reconciler(drivers, settings.resync_seconds, self.clock)
        self._decider = Decider(settings.key, settings.failsafe)
        self._to_decide: Latest[State] = Latest()
        self._to_keep: Latest[State] = Latest()
        self._to_write: Latest[AgentStatus] = Latest()
        self.book = StatusBook(
            AgentStatus(
                pid=os.getpid(),
                process_birth=birth_of(os.getpid()),
                cluster=settings.cluster,
                node=settings.node,
                started=self.clock.now(),
                drivers=drivers.names(),
            ),
            self.clock.now,
            self._to_write.put,
        )
        self._reports: Reporter[tuple[int, Faults]] = Reporter(
            "report", lambda report: channel.report(*report), self.clock, self._delivered
        )
        self._keys: Reporter[str] = Reporter(
            "public key",
            lambda key: channel.publish_key(key, settings.listen_port),
            self.clock,
            self._delivered,
        )
        self._connected_at: float | None = None
        self._public_key = ""
        self._said = ""
        self._has_state = False
        self._has_word = False
        self._never = asyncio.Event()

    async def run(
        self, public_key: str = "", watchers: Sequence[Watcher] = (), counting: Counting | None = None
    ) -> None:
        """For ever: start from the cache, follow the control plane, converge, report."""
        state, wrong = await asyncio.to_thread(cache.load, self._cache_path)
        self.book.note(cache=wrong or "ok")
        if wrong:
            LOG.warning("cache was not used", detail=wrong)
            self.book.went_wrong(wrong)
        if state.documents:
            self._take(state)
        self._public_key = public_key
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(state), name="follow")
            group.create_task(self._decide(), name="decide")
            group.create_task(self.reconciler.run(self._ended_round), name="reconcile")
            group.create_task(self._reports.run(), name="deliver reports")
            group.create_task(self._keys.run(), name="deliver the public key")
            group.create_task(self._keep(), name="keep the cache")
            group.create_task(self._write(), name="write the status")
            if counting is not None:
                group.create_task(self._count(counting), name="tell counts of rules")
            for watcher in watchers:
                group.create_task(self._watch(watcher), name="watch")

    @property
    def _cache_path(self) -> Path:
        return self.settings.state_dir / "cache.json"

    async def _follow(self, state: State) -> None:
        """The stream, again and again, from the last whole state."""
        backoff = Backoff(self.clock)
        while True:
            replica = Replica(state)
            try:
                await self._read_stream(replica)
                error: CausewayError = Unavailable("the control plane ended the stream")
            except CausewayError as caught:
                error = caught
            except Exception as caught:  # noqa: BLE001 - the top of the job: nothing that is sent may end the agent
                error = Unavailable(f"the control plane's stream was not followed: {caught!r}")
            state = replica.state
            began, self._connected_at = self._connected_at, None
            if began is not None and self.clock.monotonic() - began >= LASTED_SECONDS:
                backoff.reset()
            self._lost(error)
            await self.clock.wait(self._never, backoff.after(error))

    async def _read_stream(self, replica: Replica) -> None:
        async with aclosing(self.channel.messages(replica.state.resume_from)) as messages:
            async for message in messages:
                if self._connected_at is None:
                    self._connected()
                before, state = replica.state, replica.take(message)
                if state is None:
                    continue
                is_same = state.documents is before.documents and state.unread == before.unread
                if not is_same:
                    self._to_keep.put(state)
                if not is_same or state.revision != before.revision or not self._has_state:
                    self._take(state)

    def _take(self, state: State) -> None:
        self._has_state = True
        self.book.note(revision_wanted=state.revision)
        self._to_decide.put(state)

    def _connected(self) -> None:
        LOG.info("control plane was reached", server=self.settings.server)
        self._connected_at, self._said = self.clock.monotonic(), ""
        self.book.note(connected_since=self.clock.now())
        self._reports.reconnected()
        if self._public_key:
            self._keys.offer(self._public_key)
            self._keys.reconnected()

    def _lost(self, error: CausewayError) -> None:
        if error.message != self._said:  # once, until it is something else or was good meanwhile
            self._said = error.message
            is_refusal = isinstance(error, Unauthenticated | Forbidden)
            say = LOG.error if is_refusal else LOG.warning
            say("control plane was lost", code=error.code, detail=error.message, hint=error.hint)
        self.book.went_wrong(error.message, connected_since=None)

    async def _decide(self) -> None:
        """Compile the newest state, off the loop; one that cannot be compiled is said so, and the last good one stays enforced."""
        while True:
            state = await self._to_decide.take()
            try:
                wanted = await asyncio.to_thread(self._decider.decide, state)
            except Exception as error:  # noqa: BLE001 - the top of the job: no document may end the agent
                said = f"not compiled, the last good state is kept: {str(error) or repr(error)}"
                LOG.error("state was not compiled", revision=state.revision, detail=said)
                self.book.blame("compiler", ((f"revision {state.revision}", "compiler", said),))
                self.book.went_wrong(f"revision {state.revision}: {said}")
                self._has_word = True
                self._report()
            else:
                self.book.blame("compiler", ())
                self.reconciler.want(wanted)

    def _ended_round(self, wanted: Desired, found: tuple[ObjectReport, ...]) -> None:
        faults = tuple((fault.key, fault.reason, fault.message) for fault in (*wanted.faults, *found))
        if self.book.blame("round", faults) and faults:
            key, _, message = faults[-1]
            LOG.warning(
                "round left faults", revision=wanted.revision, count=len(faults), key=key, detail=message
            )
            self.book.went_wrong(f"{key}: {message}")
        self.book.note(revision_enforced=wanted.revision, drivers=self.reconciler.drivers.names())
        self._note_drift()
        self._has_word = True
        self._report()

    def _note_drift(self) -> None:
        drifts, last = self.reconciler.drifts, self.reconciler.last_drift
        if last is not None and drifts != self.book.status.drifts:
            said = f"{last.key}: {last.message}"
            self.book.note(drifts=drifts, last_drift=said, last_drift_at=self.clock.now())

    def _report(self) -> None:
        """Hand on what is enforced now. Before the first round there is nothing to tell: the last report still holds."""
        if self._has_word:
            self._reports.offer((self.book.status.revision_enforced, self.book.status.faults))

    def _delivered(self, name: str, error: CausewayError | None) -> None:
        """A delivery began to fail, or works again. A key that is refused costs the tunnels, never the policy: a fault of the node."""
        if error is not None:
            self.book.went_wrong(f"{name}: {error.message}")
        if name == "public key":
            is_refused = error is not None and not isinstance(error, Unavailable)
            faults: Faults = ((name, error.code, error.message),) if error and is_refused else ()
            if self.book.blame(name, faults):
                self._report()

    async def _keep(self) -> None:
        """The cache: the newest state, tried until the disk takes it."""
        backoff = Backoff(self.clock)
        while True:
            state = await self._to_keep.take()
            try:
                await asyncio.to_thread(cache.save, self._cache_path, state)
            except CausewayError as error:
                self._to_keep.put_back(state)
                if self.book.blame("cache", (("cache", error.code, error.message),)):
                    LOG.error("cache was not written", detail=error.message, hint=error.hint)
                    self.book.went_wrong(error.message, cache=error.message)
                    self._report()
                await self.clock.wait(self._never, backoff.after(error))
            else:
                backoff.reset()
                self.book.note(cache="ok")
                if self.book.blame("cache", ()):
                    self._report()

    async def _write(self) -> None:
        """The status file: the newest status; a disk that refuses is said in the log only, there is nowhere else."""
        said = ""
        while True:
            status = await self._to_write.take()
            try:
                await asyncio.to_thread(write_status, self.settings.state_dir, status)
                said = ""
            except CausewayError as error:
                if error.message != said:
                    said = error.message
                    LOG.error("status was not written", detail=said)

    async def _count(self, counting: Counting) -> None:
        """Tell totals that have changed. What is not taken is told, newer then, the next time: nobody waits for it."""
        said = ""
        while True:
            await self.clock.wait(self._never, COUNT_SECONDS)
            if self._connected_at is None:
                continue
            try:
                while counts := counting.untold(COUNTS_AT_ONCE):
                    await self.channel.count(counts)
                    counting.told(counts)
                said = ""
            except CausewayError as error:
                if error.message != said:
                    said = error.message
                    LOG.warning("counts of rules were not delivered", code=error.code, detail=said)

    async def _watch(self, watcher: Watcher) -> None:
        try:
            await watcher(self.reconciler.retry)
        except Exception as error:  # noqa: BLE001 - the top of the job: without a watcher drift is found by the resync
            LOG.error("watcher ended", detail=str(error) or repr(error))
            self.book.went_wrong(f"a watcher ended: {error}")


async def run_agent(
    settings: AgentSettings,
    drivers: Drivers,
    public_key: str,
    watchers: Sequence[Watcher] = (),
    counting: Counting | None = None,
) -> None:
    """Run until SIGTERM or SIGINT; the kernel goes on as it is."""
    identity_dir = settings.state_dir if settings.has_certificate else None
    channel = HttpChannel(settings.server, settings.credential, identity_dir=identity_dir)
    agent = Agent(settings, channel, drivers)
    if identity_dir is not None:
        renewal = Renewal(channel, identity_dir, agent.clock, agent.book.note)
        watchers = (*watchers, renewal.watch)
    work = asyncio.ensure_future(agent.run(public_key, watchers, counting))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(work.cancel, "stopped"))
    try:
        await work
    except asyncio.CancelledError:
        LOG.info("agent was stopped", node=settings.key.path)
    finally:
        await channel.close()
