"""The control plane goes and comes back: nodes keep what they enforce, and catch up from where they were."""

from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from api.rest.app import application
from federation import wire
from federation.errors import Unauthenticated
from nodeagent.control.client import HttpChannel
from nodeagent.settings import Secret

WIDER = {"kind": "Cluster", "name": "dc1", "spec": {"prefixes": ["10.10.0.0/15"]}}


async def settled(system: Any, stack: AsyncExitStack, plane: Any) -> list[Any]:
    """Both nodes linked, with the policy in force."""
    await system.furnish(plane)
    members = await system.members(stack, plane)
    await system.apply(plane, system.link)
    revision = await system.apply(plane, system.closed)
    assert (await plane.rollout(revision, 10)).is_complete
    return members


def mode_of(heard: list[wire.Message]) -> str:
    begin = heard[0]
    assert isinstance(begin, wire.Begin)
    return begin.mode


def upserts(heard: list[wire.Message]) -> list[str]:
    """Kinds of what came before the stream was in sync."""
    end = next(i for i, message in enumerate(heard) if isinstance(message, wire.InSync))
    return [str(m.document["kind"]) for m in heard[:end] if isinstance(m, wire.Upsert)]


async def test_a_restarted_control_plane_finds_every_node_as_it_was(system: Any) -> None:
    async with AsyncExitStack() as stack:
        async with system.control_plane() as plane:
            members = await settled(system, stack, plane)
            for member in members:
                await member.wire.cut()
            for member in members:
                await member.until(lambda status: status.connected_since is None)
            held = [(m.policy.value, m.tunnels.value, m.routes.value) for m in members]
        rounds = [(m.policy.rounds, m.tunnels.rounds, m.routes.rounds) for m in members]
        assert not members[1].allows()
        async with system.control_plane() as again:
            for member in members:
                member.wire.connect(again)
                await member.until(lambda status: status.connected_since)
            assert [mode_of(m.wire.heard[-1][1]) for m in members] == ["resume", "resume"]
            assert held == [(m.policy.value, m.tunnels.value, m.routes.value) for m in members]
            assert rounds == [(m.policy.rounds, m.tunnels.rounds, m.routes.rounds) for m in members]


async def test_after_a_cut_only_what_has_changed_comes(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        _, aws1 = await settled(system, stack, plane)
        await aws1.wire.cut()
        await aws1.until(lambda status: status.connected_since is None)
        known = aws1.agent.book.status.revision_wanted
        revision = await system.delete(plane, system.closed)
        revision = await system.apply(plane, WIDER)
        assert not aws1.allows()
        aws1.wire.connect(plane)
        assert (await plane.rollout(revision, 10)).is_complete
        since, heard = aws1.wire.heard[-1]
        assert (since, mode_of(heard), upserts(heard)) == (known, "resume", ["Cluster"])
        assert aws1.allows()


async def test_a_history_that_is_not_kept_any_more_comes_as_a_snapshot_and_forgets_what_is_gone(
    system: Any,
) -> None:
    async with AsyncExitStack() as stack:
        async with system.control_plane() as plane:
            dc1, aws1 = await settled(system, stack, plane)
            for member in (dc1, aws1):
                await member.wire.cut()
                await member.until(lambda status: status.connected_since is None)
            await system.delete(plane, system.closed)
            plane.duties.kept_revisions = 0
            await plane.duties.round()
        async with system.control_plane() as again:
            aws1.wire.connect(again)
            await aws1.until(lambda status: status.revision_enforced == again.hub.revision)
            assert mode_of(aws1.wire.heard[-1][1]) == "snapshot"
            assert aws1.allows()


async def test_a_control_plane_from_an_older_backup_is_followed_and_hears_the_report_again(
    system: Any,
) -> None:
    async with AsyncExitStack() as stack:
        async with system.control_plane() as plane:
            dc1, aws1 = await settled(system, stack, plane)
            for member in (dc1, aws1):
                await member.wire.cut()
                await member.until(lambda status: status.connected_since is None)
        system.back_up("i.db", "backup.db")
        async with system.control_plane() as plane:
            for member in (dc1, aws1):
                member.wire.connect(plane)
            newer = await system.delete(plane, system.closed)
            assert (await plane.rollout(newer, 10)).is_complete
            assert aws1.allows()
            for member in (dc1, aws1):
                await member.wire.cut()
                await member.until(lambda status: status.connected_since is None)
        async with system.control_plane("backup.db") as restored:
            for member in (dc1, aws1):
                member.wire.connect(restored)
                await member.until(lambda status: status.revision_enforced == restored.hub.revision < newer)
            assert not aws1.allows()
            assert (await restored.rollout(restored.hub.revision, 10)).is_complete


async def test_an_agent_that_started_alone_catches_up_when_the_control_plane_is_there(system: Any) -> None:
    async with system.control_plane() as plane, AsyncExitStack() as stack:
        await settled(system, stack, plane)
    async with system.member(None, "aws1") as alone:
        await alone.until(lambda status: status.revision_enforced)
        assert not alone.allows()
        known = alone.agent.book.status.revision_enforced
        async with system.control_plane() as again:
            revision = await system.delete(again, system.closed)
            alone.wire.connect(again)
            await alone.until(lambda status: status.revision_enforced == revision)
            assert alone.allows()
            assert alone.wire.heard[0][0] == known
            await alone.wire.cut()


async def test_reports_that_are_lost_are_delivered_again_while_enforcement_goes_on(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        _, aws1 = await settled(system, stack, plane)
        aws1.wire.loses_reports = True
        revision = await system.delete(plane, system.closed)
        await aws1.until(lambda status: status.revision_enforced == revision)
        assert aws1.allows()
        assert dict((await plane.rollout(revision, 0.3)).behind).keys() == {"aws1/n1"}
        await aws1.until(lambda _: aws1.wire.lost_reports)
        aws1.wire.loses_reports = False
        assert (await plane.rollout(revision, 10)).is_complete


async def test_an_agent_of_one_cluster_that_claims_another_is_refused_and_changes_nothing(
    system: Any,
) -> None:
    async with system.control_plane() as plane:
        await system.furnish(plane)
        headers = {"Authorization": f"Bearer {system.credentials['dc1']}"}
        claim = {"cluster": "aws1", "node": "n1"}
        transport = httpx.ASGITransport(application(plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://c", headers=headers) as thief:
            report = {"revision": 999, "faults": [], **claim}
            key = {"publicKey": "k" * 43 + "=", "listenPort": 51820, **claim}
            for answer in (
                await thief.post("/agent/v1/report", json=report),
                await thief.put("/agent/v1/key", json=key),
            ):
                assert answer.status_code == 403
                assert "this credential is of dc1/n1, not aws1/n1" in answer.json()["detail"]
        rollout = await plane.rollout(plane.hub.revision, 0)
        assert dict(rollout.behind)["aws1/n1"] == "never reported"


async def test_an_agent_with_a_wrong_credential_is_told_to_join_again(system: Any) -> None:
    async with system.control_plane() as plane:
        await system.furnish(plane)
        channel = HttpChannel("http://c", Secret("no.such"), httpx.ASGITransport(application(plane)))
        for attempt in (anext(channel.messages(None)), channel.report(1, ())):
            with pytest.raises(Unauthenticated) as caught:
                await attempt
            assert "causeway join" in caught.value.hint
        await channel.close()


async def test_an_agents_own_words_go_over_http(system: Any) -> None:
    async with system.control_plane() as plane:
        await system.furnish(plane)
        transport = httpx.ASGITransport(application(plane))
        channel = HttpChannel("http://c", Secret(system.credentials["dc1"]), transport)
        revision = plane.hub.revision
        await channel.publish_key("k" * 43 + "=", 51820)
        await channel.report(revision, (("route 10.0.0.0/8", "driver", "full"),))
        behind = dict((await plane.rollout(revision, 0)).behind)
        assert "route 10.0.0.0/8: full" in behind["dc1/n1"]
        await channel.close()
