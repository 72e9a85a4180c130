"""The job that keeps a certificate good: whatever is told of trust, whatever the clocks say."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.pki import x509
from federation import wire
from federation.errors import CausewayError, Unavailable
from nodeagent.control import csr, identity
from nodeagent.control.renewal import LOOK_SECONDS, Renewal
from tests.nodeagent.conftest import FakeClock

DAY = 86400.0
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Signer:
    """A CertificateChannel with an authority behind it, whose clock the test moves."""

    def __init__(self, clock: FakeClock) -> None:
        self.skew_seconds: float | None = 0.0
        self.on_trust: Callable[[wire.Trust], None] | None = None
        self.refusal: CausewayError | None = None
        self.given: list[str] = []
        self.confirmed: list[str] = []
        self.root = x509.make_root("r", BEGAN)
        self.issuer = x509.make_intermediate(self.root, "i", "causeway.internal", BEGAN)
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self.skew_seconds or 0.0)

    def answer(self, request: str) -> dict[str, Any]:
        now, life = self.now(), timedelta(hours=12)
        leaf = x509.sign_node(self.issuer, request, "spiffe://causeway.internal/cluster/c/node/n", "e", now, life)  # fmt: skip
        times = {"issued": now.isoformat(), "notAfter": (now + life).isoformat()}
        return {"serial": str(len(self.given)), "issuer": "a", **times, "certificate": leaf + self.issuer.certificate, "bundle": self.root.certificate}  # fmt: skip

    async def renew(self, request: str, proof: str = "") -> dict[str, Any]:
        assert proof
        self.given.append("renew")
        return self.answer(request)

    async def recover(self, certificate: str, request: str) -> dict[str, Any]:
        self.given.append("recover")
        return self.answer(request)

    async def confirm_trust(self, digest: str) -> None:
        if self.refusal:
            raise self.refusal
        self.confirmed.append(digest)

    def adopt(self) -> None:
        """Nothing to do."""


@pytest.fixture
async def signer(clock: FakeClock, tmp_path: Path) -> Signer:
    made, asked = Signer(clock), await asyncio.to_thread(csr.request)
    identity.save(tmp_path, asked.key, made.answer(asked.csr))
    return made


class Watched:
    """The job at work."""

    def __init__(self, signer: Signer, folder: Path, clock: FakeClock) -> None:
        clock.chance = 0.5
        self.clock = clock
        self.renewal = Renewal(signer, folder, clock, lambda **_: None)

    async def __aenter__(self) -> "Watched":
        self.task = asyncio.ensure_future(self.renewal.watch())
        await self.rested()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def rested(self) -> float:
        """Return when the job waits: for how long."""
        async with asyncio.timeout(20):
            while True:
                self.clock.asked.clear()
                if not self.clock.waits:
                    await self.clock.asked.wait()
                before = len(self.clock.waits)
                await asyncio.sleep(0.01)
                if len(self.clock.waits) == before:
                    return self.clock.waits[-1]

    async def after(self, seconds: float) -> float:
        """Let time pass, or jump: what the job waits for then."""
        self.clock.waits.clear()
        self.clock.advance(seconds)
        return await self.rested()

    async def hears(self, told: wire.Trust) -> float:
        self.clock.waits.clear()
        self.renewal._hear(told)
        return await self.rested()


class Settable(FakeClock):
    """Its wall clock can be set, its monotonic one goes on."""

    ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)


@pytest.fixture
async def clock() -> Settable:
    return Settable()


async def test_a_clock_that_is_set_back_by_a_day_keeps_no_certificate_from_being_renewed(
    signer: Signer, tmp_path: Path, clock: Settable
) -> None:
    async with Watched(signer, tmp_path, clock) as job:
        clock.ahead = -DAY
        signer.now = lambda: BEGAN + timedelta(seconds=clock.seconds)  # type: ignore[method-assign]
        await job.after(7 * 3600)
        assert signer.given == []
        await job.after(3600)
        assert signer.given == ["renew"], "though nobody has told how late it is"


async def test_a_clock_that_is_set_forward_by_a_day_costs_one_certificate(
    signer: Signer, tmp_path: Path, clock: Settable
) -> None:
    async with Watched(signer, tmp_path, clock) as job:
        clock.ahead = DAY
        signer.now = lambda: BEGAN + timedelta(seconds=clock.seconds)  # type: ignore[method-assign]
        await job.after(LOOK_SECONDS)
        signer.skew_seconds = -DAY  # as the answer says
        for _ in range(6):
            await job.after(3600)
        assert signer.given == ["recover"]
        await job.after(2 * 3600)
        assert signer.given == ["recover", "renew"]


async def test_a_certificate_is_not_asked_for_without_end_when_clocks_differ_and_nobody_knows(
    signer: Signer, tmp_path: Path, clock: FakeClock
) -> None:
    async with Watched(signer, tmp_path, clock) as job:
        signer.now = lambda: BEGAN  # type: ignore[method-assign]  # the control plane's clock stands
        signer.skew_seconds = None
        for _ in range(5):
            assert await job.after(DAY) == LOOK_SECONDS
        assert len(signer.given) == 5, "one a look, though each is over when it comes"


@pytest.mark.parametrize("bundle", ["", "\u00e9", "x", "\x00"])
async def test_trust_that_is_none_is_passed_over_and_renewal_goes_on(
    signer: Signer, tmp_path: Path, clock: FakeClock, bundle: str
) -> None:
    async with Watched(signer, tmp_path, clock) as job:
        before = identity.trust_digest(tmp_path)
        assert await job.hears(wire.Trust(bundle, "a")) == LOOK_SECONDS
        assert (signer.confirmed, identity.trust_digest(tmp_path)) == ([], before)
        await job.after(8 * 3600)
        assert signer.given == ["renew"]


async def test_who_cannot_say_what_he_trusts_renews_and_says_it_then(
    signer: Signer, tmp_path: Path, clock: FakeClock
) -> None:
    async with Watched(signer, tmp_path, clock) as job:
        signer.refusal = Unavailable("the certificate has expired")
        bundle = signer.root.certificate + x509.make_root("next", BEGAN).certificate
        await job.hears(wire.Trust(bundle, "a"))
        assert identity.trust_digest(tmp_path)
        await job.after(13 * 3600)
        assert signer.given == ["recover"]
        signer.refusal = None
        await job.after(LOOK_SECONDS)
        assert signer.confirmed == [identity.trust_digest(tmp_path)]
