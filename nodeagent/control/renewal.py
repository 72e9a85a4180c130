"""The job that keeps a node's certificate good: renewed at half its life over mTLS, taken up again by its key after it has expired."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from federation import wire
from federation.errors import CausewayError
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
        self._woken = asyncio.Event()
        channel.on_trust = self._hear

    async def watch(self, _retry: Callable[[], None] = lambda: None) -> None:
        """For ever."""
        backoff, said = Backoff(self._clock), ""
        while True:
            self._note(certificate_expires=self.identity.not_after, clock_skew_seconds=self._skew())
            try:
                await self._take_trust()
                if self._clock.now() >= self._due:
                    await self._renew()
                backoff.reset()
                said, pause = "", min(LOOK_SECONDS, max((self._due - self._clock.now()).total_seconds(), 0))
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

    async def _take_trust(self) -> None:
        """What the stream told: trust it, say so, and move to the authority that signs now, not all nodes at once."""
        told = self._untold
        if told is None:
            return
        await asyncio.to_thread(identity.save_bundle, self._state_dir, told.bundle)
        self._channel.adopt()
        await self._channel.confirm_trust(identity.trust_digest(self._state_dir))
        LOG.info("trust was renewed", issuer=told.issuer)
        if told.issuer != self.identity.issuer:
            later = self._clock.now() + timedelta(seconds=MOVE_SECONDS * self._clock.fraction())
            self._due = min(self._due, later)
        if self._untold is told:
            self._untold = None

    async def _renew(self) -> None:
        has_expired = self._clock.now() >= self.identity.not_after
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
