"""The reconcile loop: retries as data, and no path before what polices it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from federation.errors import DriverError, PlatformLack
from nodeagent.drivers import DRIFT, Desired, DesiredPolicy, DesiredRoutes, DesiredTunnels, ObjectReport
from nodeagent.reconcile import SETTLE_SECONDS, Drivers, Faults, Reconciler, wait_after

RESYNC = 30.0


class Rounds:
    """A running reconciler, and its ended rounds."""

    def __init__(self, drivers: Drivers, clock: Any) -> None:
        self.reconciler = Reconciler(drivers, RESYNC, clock)
        self.ended: asyncio.Queue[tuple[Desired, Faults]] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[Rounds]":
        task = asyncio.ensure_future(self.reconciler.run(lambda *said: self.ended.put_nowait(said)))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def next(self) -> tuple[int, list[str]]:
        wanted, faults = await asyncio.wait_for(self.ended.get(), 5)
        return wanted.revision, [fault.key for fault in faults]


@pytest.mark.parametrize(
    ("failures", "resync", "seconds"),
    [
        (0, 30, 30),
        (1, 30, 0.2),
        (2, 30, 0.4),
        (3, 30, 0.8),
        (8, 30, 25.6),
        (9, 30, 30),
        (10_000, 30, 30),
        (1, 0.1, 0.1),
    ],
)
def test_retries_are_doubled_up_to_the_resync(failures: int, resync: float, seconds: float) -> None:
    assert wait_after(failures, resync) == pytest.approx(seconds)


async def test_all_parts_are_handed_over_whole_and_then_only_the_resync_is_waited_for(
    drivers: Any, clock: Any
) -> None:
    wanted = Desired(revision=3, policy=DesiredPolicy(), tunnels=DesiredTunnels(), routes=DesiredRoutes())
    async with Rounds(drivers, clock).running() as rounds:
        rounds.reconciler.want(wanted)
        assert await rounds.next() == (3, [])
        assert drivers.policy.value is wanted.policy
        assert drivers.tunnels.value is wanted.tunnels
        assert drivers.routes.value is wanted.routes
        await clock.asked_for(RESYNC)
        clock.advance(RESYNC)
        assert await rounds.next() == (3, [])


async def test_nothing_is_touched_before_something_is_wanted(drivers: Any, clock: Any) -> None:
    async with Rounds(drivers, clock).running() as rounds:
        await clock.asked_for(RESYNC)
        rounds.reconciler.retry()
        clock.waits.clear()
        await clock.asked_for(RESYNC)
        assert drivers.policy.rounds == 0
        assert rounds.ended.empty()


FAILURES = [
    DriverError("no buffer space"),
    PlatformLack("no bpffs", hint="mount it"),
    OSError(28, "no space"),
    KeyError(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("part", ["policy", "tunnels", "routes"])
async def test_a_failing_part_is_named_retried_sooner_and_recovers(
    drivers: Any, clock: Any, part: str, failure: Exception
) -> None:
    driver = getattr(drivers, part)
    driver.failure = failure
    async with Rounds(drivers, clock).running() as rounds:
        rounds.reconciler.want(Desired(revision=1))
        assert await rounds.next() == (1, [part])
        for seconds in (0.2, 0.4, 0.8, 1.6):
            await clock.asked_for(seconds)
            clock.advance(seconds)
            assert await rounds.next() == (1, [part])
        driver.failure = ""
        await clock.asked_for(3.2)
        clock.advance(3.2)
        assert await rounds.next() == (1, [])
        assert clock.waits[-1] == RESYNC
        assert rounds.reconciler.faults == ()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: type(f).__name__)
async def test_without_verdicts_no_tunnel_and_no_route_is_opened(
    drivers: Any, clock: Any, failure: Exception
) -> None:
    drivers.policy.failure = failure
    reconciler = Reconciler(drivers, RESYNC, clock)
    faults = await reconciler.converge(Desired(revision=1))
    assert [fault.key for fault in faults] == ["policy"]
    assert faults[0].reason in ("driver", "platform")
    assert faults[0].message
    assert (drivers.tunnels.rounds, drivers.routes.rounds) == (0, 0)


async def test_a_failing_tunnel_does_not_keep_routes_back(drivers: Any, clock: Any) -> None:
    drivers.tunnels.failure = "no TUN"
    await Reconciler(drivers, RESYNC, clock).converge(Desired(revision=1))
    assert drivers.routes.value == DesiredRoutes()


async def test_one_object_that_is_wrong_is_a_fault_and_the_rest_goes_on(drivers: Any, clock: Any) -> None:
    good = ObjectReport(key="route a", is_ok=True)
    bad = ObjectReport(key="filter b", is_ok=False, reason="driver", message="no such device")
    drivers.policy.reports = (good, bad)
    assert await Reconciler(drivers, RESYNC, clock).converge(Desired(revision=1)) == (bad,)
    assert drivers.routes.rounds == 1


async def test_drift_that_was_repaired_is_counted_and_is_no_fault(drivers: Any, clock: Any) -> None:
    drift = ObjectReport(key="map rules", is_ok=True, reason=DRIFT, message="entries: 1 altered")
    drivers.policy.reports, drivers.routes.reports = (drift,), (drift,)
    reconciler = Reconciler(drivers, RESYNC, clock)
    assert await reconciler.converge(Desired(revision=1)) == ()
    assert (reconciler.drifts, reconciler.last_drift) == (2, drift)
    drivers.policy.reports = drivers.routes.reports = ()
    await reconciler.converge(Desired(revision=1))
    assert reconciler.drifts == 2


async def test_what_was_found_while_deciding_is_not_retried(drivers: Any, clock: Any) -> None:
    found = ObjectReport(key="Endpoint x", is_ok=False, reason="platform", message="IPv6")
    async with Rounds(drivers, clock).running() as rounds:
        rounds.reconciler.want(Desired(revision=1, faults=(found,)))
        assert await rounds.next() == (1, [])
        assert clock.waits[-1] == RESYNC


async def wanted_twice(rounds: Rounds) -> None:
    rounds.reconciler.want(Desired(revision=2))
    rounds.reconciler.want(Desired(revision=3))


async def retried(rounds: Rounds) -> None:
    rounds.reconciler.retry()


@pytest.mark.parametrize(("act", "revision"), [(wanted_twice, 3), (retried, 1)])
async def test_while_a_round_is_slow_only_the_newest_wish_is_kept(
    drivers: Any, clock: Any, act: Callable[[Rounds], Awaitable[None]], revision: int
) -> None:
    drivers.policy.gate.clear()
    async with Rounds(drivers, clock).running() as rounds:
        try:
            rounds.reconciler.want(Desired(revision=1))
            await asyncio.wait_for(drivers.policy.begun.wait(), 5)
            await act(rounds)
        finally:
            drivers.policy.gate.set()
        assert await rounds.next() == (1, [])
        assert await rounds.next() == (revision, [])
        assert clock.waits[-1] == RESYNC
        assert rounds.ended.empty()


async def test_drivers_are_named_for_people(drivers: Any) -> None:
    drivers.tunnels.name = "wireguard-go"
    assert drivers.names() == {"policy": "FakeDriver", "tunnels": "wireguard-go", "routes": "FakeDriver"}


async def test_a_round_ends_when_its_tunnels_have_met_their_other_ends(drivers: Any, clock: Any) -> None:
    drivers.tunnels.unsettled = 2
    async with Rounds(drivers, clock).running() as rounds:
        rounds.reconciler.want(Desired(revision=1))
        for _ in range(2):
            await clock.asked_for(SETTLE_SECONDS)
            assert rounds.ended.empty()
            clock.waits.clear()
            clock.advance(SETTLE_SECONDS)
        assert await rounds.next() == (1, [])


async def test_a_newer_state_does_not_wait_for_the_tunnels_of_an_older_one(drivers: Any, clock: Any) -> None:
    drivers.tunnels.unsettled = 1000
    async with Rounds(drivers, clock).running() as rounds:
        rounds.reconciler.want(Desired(revision=1))
        await clock.asked_for(SETTLE_SECONDS)
        rounds.reconciler.want(Desired(revision=2))
        assert await rounds.next() == (1, [])
        await asyncio.wait_for(wait_for_revision(drivers, 2), 5)


async def wait_for_revision(drivers: Any, rounds: int) -> None:
    while drivers.policy.rounds < rounds:
        drivers.policy.taken.clear()
        await drivers.policy.taken.wait()
