"""Rotation of the authority: three steps, each refused while it would cut a node off."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from controlplane.access.actor import Actor
from controlplane.pki.certificates import Certificates, Holding
from federation.errors import Conflict

STEPS = ("prepare", "issue", "drop")
SHOWN = 5
"""Nodes that a refusal names."""


async def rotate(
    certificates: Certificates, step: str, *, is_forced: bool, now: datetime, actor: Actor
) -> str:
    """Take one step; what was done, in words. Raises Conflict with the nodes that would be cut off, unless it is forced."""
    steps: dict[str, Callable[[], Awaitable[str]]] = {
        "prepare": lambda: _prepare(certificates, now),
        "issue": lambda: _issue(certificates, is_forced),
        "drop": lambda: _drop(certificates, is_forced),
    }
    done = await steps[step]()
    await certificates.tell(f"ca.{step}", certificates.authorities.issuing.id, actor)
    return done


async def _prepare(certificates: Certificates, now: datetime) -> str:
    made = await certificates.authorities.prepare(now)
    return f"authority {made.id} ({made.pin}) is trusted beside the old one; nodes are being told"


async def _issue(certificates: Certificates, is_forced: bool) -> str:
    behind = [h for h in await certificates.holdings() if h.authority and not h.trusts]
    if behind and not is_forced:
        raise _cut_off(behind, "do not trust the new authority yet")
    made = await certificates.authorities.issue_from_next()
    return f"authority {made.id} signs now; nodes renew from it"


async def _drop(certificates: Certificates, is_forced: bool) -> str:
    issuing = certificates.authorities.issuing.id
    behind = [h for h in await certificates.holdings() if h.authority not in ("", issuing)]
    if behind and not is_forced:
        raise _cut_off(behind, "have a certificate of the old authority still")
    dropped = await certificates.authorities.drop()
    return f"{', '.join(dropped)} is trusted no more"


def _cut_off(behind: list[Holding], why: str) -> Conflict:
    named = ", ".join(h.node for h in behind[:SHOWN]) + (" …" if len(behind) > SHOWN else "")
    hint = (
        "wait, see causeway ca show; --force goes on without them: they come back by a join token only then"
    )
    return Conflict(f"{len(behind)} node(s) {why}: {named}", hint=hint)
