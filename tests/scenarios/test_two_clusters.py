"""A link and a policy on two clusters, from intent to verdict."""

import asyncio
from contextlib import AsyncExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from federation.errors import Unavailable
from nodeagent.control import cache


async def test_a_link_and_a_policy_reach_every_node_and_are_acknowledged(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        await system.furnish(plane)
        dc1, aws1 = await system.members(stack, plane)
        linked = await system.apply(plane, system.link)
        assert (await plane.rollout(linked, 10)).is_complete
        assert [p.name for p in dc1.tunnels.value.peers] == ["aws1/n1"]
        assert IPv4Network("10.20.1.0/24") in dc1.routes.value.via_tunnel
        assert aws1.allows()
        closed = await system.apply(plane, system.closed)
        assert (await plane.rollout(closed, 10)).is_complete
        assert not aws1.allows()


async def test_a_failing_driver_is_named_in_the_rollout_and_recovers(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        await system.furnish(plane)
        dc1, _ = await system.members(stack, plane)
        assert (await plane.rollout(await system.apply(plane, system.link), 10)).is_complete
        dc1.routes.failure = "no buffer space"
        revision = await system.apply(plane, system.closed)
        behind = dict((await plane.rollout(revision, 1)).behind)
        assert "no buffer space" in behind["dc1/n1"]
        dc1.routes.failure = ""
        assert (await plane.rollout(revision, 10)).is_complete


async def test_an_agent_starts_from_its_cache_while_the_control_plane_is_away(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        await system.furnish(plane)
        await system.members(stack, plane)
        await system.apply(plane, system.link)
        assert (await plane.rollout(await system.apply(plane, system.closed), 10)).is_complete
    async with system.member(None, "aws1") as alone:
        await asyncio.wait_for(alone.policy.taken.wait(), 5)
        assert not alone.allows()


async def test_a_corrupt_cache_is_moved_aside_and_a_full_disk_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    path.write_text("{ half")
    state, wrong = cache.load(path)
    assert (state.documents, "starting from a snapshot" in wrong) == ({}, True)
    assert (tmp_path / "cache.corrupt").exists()
    cache.save(path, state)
    before = path.read_bytes()
    (tmp_path / "cache.new").mkdir()
    with pytest.raises(Unavailable, match="was not written"):
        cache.save(path, state)
    assert path.read_bytes() == before
