"""Small writes gathered: nothing is kept twice or lost, who brings something hears what became of it."""

import asyncio
from collections.abc import Mapping

import pytest

from controlplane.gathering import Gathering
from federation.errors import Unavailable


class Keeper:
    """Takes what it is given, when it is let; fails on demand."""

    def __init__(self) -> None:
        self.kept: list[dict[str, int]] = []
        self.gate = asyncio.Event()
        self.fails = False

    async def keep(self, told: Mapping[str, int]) -> None:
        await self.gate.wait()
        if self.fails:
            raise Unavailable("away")
        self.kept.append(dict(told))


async def test_what_comes_while_one_is_kept_goes_into_the_next_the_latest_of_each_key() -> None:
    keeper = Keeper()
    gathering = Gathering(keeper.keep)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(gathering.go_on())
        first = group.create_task(gathering.put({"a": 1}))
        await asyncio.sleep(0.01)
        more = [group.create_task(gathering.put({key: n})) for n, key in enumerate("abcabc")]
        await asyncio.sleep(0.01)
        assert not first.done()
        keeper.gate.set()
        await asyncio.gather(first, *more)
        worker.cancel()
    assert keeper.kept == [{"a": 1}, {"a": 3, "b": 4, "c": 5}]


async def test_who_brings_something_that_is_not_kept_hears_it_and_the_next_is_kept() -> None:
    keeper = Keeper()
    keeper.fails = True
    keeper.gate.set()
    gathering = Gathering(keeper.keep)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(gathering.go_on())
        for told in await asyncio.gather(gathering.put({"a": 1}), gathering.put({"b": 2}), return_exceptions=True):  # fmt: skip
            assert isinstance(told, Unavailable)
        keeper.fails = False
        await gathering.put({"a": 3})
        worker.cancel()
    assert keeper.kept == [{"a": 3}]


async def test_who_has_gone_meanwhile_holds_nobody_up() -> None:
    keeper = Keeper()
    gathering = Gathering(keeper.keep)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(gathering.go_on())
        gone = group.create_task(gathering.put({"a": 1}))
        stays = group.create_task(gathering.put({"b": 2}))
        await asyncio.sleep(0.01)
        gone.cancel()
        keeper.gate.set()
        await stays
        worker.cancel()
    assert keeper.kept == [{"a": 1, "b": 2}]


async def test_at_the_end_nobody_is_left_waiting() -> None:
    keeper = Keeper()
    gathering = Gathering(keeper.keep)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(gathering.go_on())
        waits = group.create_task(gathering.put({"a": 1}))
        await asyncio.sleep(0.01)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
