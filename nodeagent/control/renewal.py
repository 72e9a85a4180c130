"""The job that keeps a node's certificate good: renewed at half its life over mTLS, taken up again by its key after it has expired."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from federation import wire
from federation.errors import CausewayError, InvalidInput
from nodeagent.control import csr, identity
from nodeagent.pace import Backoff, Clock

LOG = structlog.get_logger("agent")
HALF, JITTER = 0.5, 0.2
"""Of a certificate's life: when it is renewed, and how much later at most, so that a fleet that joined at once does not renew at once."""
LOOK_SECONDS = 60.0
"""The wall clock is looked at so often: machines sleep, and clocks are set."""
MOVE_SECONDS = 30.0
"""How much later at most a node renews that is told of another authority."""


class CertificateChannel(Protocol):
    """What the job needs of the control plane. All raise as `ControlChannel` does."""

    skew_seconds: float | None
    """How much the control plane's clock is ahead of ours, as it said last."""
    on_trust: Callable[[wire.Trust], None] | None
    """Called when the stream tells what to trust."""

    async def renew(self, request: str, proof: str = "") -> Mapping[str, Any]:
        """A certificate for a request that the key before vouches for, over a connection that shows the certificate that is there."""
        ...

    async def recover(self, certificate: str, request: str) -> Mapping[str, Any]:
        """A certificate for one that has expired."""
        ...

    async def confirm_trust(self, digest: str) -> None:
        """Tell that this bundle is trusted."""
        ...

    def adopt(self) -> None:
        """From now on show and trust what is on disk."""
        ...


class Renewal:
    """Of one agent. `note` gets what `AgentStatus` says of it."""

    def __init__(self, channel: CertificateChannel, state_dir: Path, clock: Clock, note: Callable[..., None]) -> None:  # fmt: skip
        found = identity.load(state_dir)
        assert found is not None, "only an agent with a certificate has this job"
        self.identity = found
        self._channel = channel
        self._state_dir = state_dir
        self._clock = clock
        self._note = note
        self._due = self._due_at(found)
        self._untold: wire.Trust | None = None
        self._known = (clock.now(), clock.monotonic(), channel.skew_seconds)
        """The control plane's clock and our monotonic one, when the difference between the clocks was told last, and that."""
        self._is_unconfirmed = False
        """What is trusted has changed, and the control plane does not know that yet."""
        self._woken = asyncio.Event()
        channel.on_trust = self._hear

    async def watch(self, _retry: Callable[[], None] = lambda: None) -> None:
        """For ever. What is to be trusted is kept first, and its keeping told last: who cannot tell it may have to renew before."""
        backoff, said = Backoff(self._clock), ""
        while True:
            self._note(certificate_expires=self.identity.not_after, clock_skew_seconds=self._skew())
            try:
                await self._take_trust()
                if is_due := self._now() >= self._due:
                    await self._renew()
                await self._confirm_trust()
                backoff.reset()
                said, pause = "", self._pause(has_renewed=is_due)
            except CausewayError as error:
                pause = backoff.after(error)
                if error.message != said:
                    said = error.message
                    LOG.warning("certificate was not renewed", detail=said, hint=error.hint, until=str(self.identity.not_after))  # fmt: skip
            await self._clock.wait(self._woken, pause)
            self._woken.clear()

    def _hear(self, told: wire.Trust) -> None:
        self._untold = told
        self._woken.set()

    def _now(self) -> datetime:
        """By the control plane's clock, as far as it is known: the certificate's times are. Ours may be set wrong, or be set anew; set back, it
        must not keep a certificate from being renewed: as much time has passed as has passed."""
        skew, passed = self._channel.skew_seconds, self._clock.monotonic()
        now = self._clock.now() + timedelta(seconds=skew or 0.0)
        if skew != self._known[2]:
            self._known = (now, passed, skew)
        known, at, _ = self._known
        return max(now, known + timedelta(seconds=passed - at))

    def _pause(self, *, has_renewed: bool) -> float:
        """Never none after a renewal: a certificate that is due as soon as it comes would be asked for without end. What became due meanwhile is."""
        left = (self._due - self._now()).total_seconds()
        return LOOK_SECONDS if has_renewed and left <= 0 else min(LOOK_SECONDS, max(left, 0))

    async def _take_trust(self) -> None:
        """What the stream told: trust it, and move to the authority that signs now, not all nodes at once."""
        told = self._untold
        if told is None:
            return
        try:
            await asyncio.to_thread(identity.save_bundle, self._state_dir, told.bundle)
        except InvalidInput as error:
            LOG.warning("trust was not renewed", detail=error.message)
            self._forget(told)
            return
        self._channel.adopt()
        self._is_unconfirmed = True
        LOG.info("trust was renewed", issuer=told.issuer)
        if told.issuer != self.identity.issuer:
            later = self._now() + timedelta(seconds=MOVE_SECONDS * self._clock.fraction())
            self._due = min(self._due, later)
        self._forget(told)

    def _forget(self, told: wire.Trust) -> None:
        if self._untold is told:
            self._untold = None

    async def _confirm_trust(self) -> None:
        """Say what is trusted, when that is news."""
        if self._is_unconfirmed:
            await self._channel.confirm_trust(identity.trust_digest(self._state_dir))
            self._is_unconfirmed = False

    async def _renew(self) -> None:
        has_expired = self._now() >= self.identity.not_after
        key, certificate = identity.key_and_certificate(self._state_dir)
        if has_expired:  # the same key: it is what proves that this is the node
            asked = await asyncio.to_thread(csr.request, key)
            answer = await self._channel.recover(certificate, asked.csr)
        else:
            asked = await asyncio.to_thread(csr.renewal, key)
            answer = await self._channel.renew(asked.csr, asked.proof)
        self.identity = await asyncio.to_thread(identity.save, self._state_dir, asked.key, answer)
        self._channel.adopt()
        self._due = self._due_at(self.identity)
        LOG.info("certificate was renewed", serial=self.identity.serial, until=str(self.identity.not_after))
        self._note(certificate_expires=self.identity.not_after)

    def _due_at(self, found: identity.Identity) -> datetime:
        life = found.not_after - found.issued
        return found.issued + life * (HALF + JITTER * self._clock.fraction())

    def _skew(self) -> float | None:
        skew = self._channel.skew_seconds
        return None if skew is None else round(skew, 1)
