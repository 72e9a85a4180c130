"""A job goes on for ever, at the pace that its work says; what fails is said once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from federation.errors import DriverError
from nodeagent.dataplane.ebpf.observe.job import Job


async def test_work_says_when_it_wants_to_be_done_again_and_a_failure_waits_as_at_first() -> None:
    answers: list[object] = [
        5.0,
        DriverError("the map is away"),
        DriverError("the map is away"),
        7.0,
        OSError("no disk"),
    ]
    waits: list[float] = []

    def work() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return float(answer)  # type: ignore[arg-type]

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        if not answers:
            raise asyncio.CancelledError

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await Job("maps", work, 1.0).watch(lambda: None, pause)
    assert waits == [1.0, 5.0, 1.0, 1.0, 7.0, 1.0]
    assert [line["detail"] for line in logs] == ["the map is away", "no disk"], "once each"
