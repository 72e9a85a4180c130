"""What stands in the maps is told from what is being written."""

import pytest

from federation.errors import DriverError
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.drivers import DesiredPolicy


async def test_what_was_carried_out_stands_until_the_next_round_has_succeeded() -> None:
    inner = FakeDriver()
    noted = NotedDriver(inner)
    assert (noted.name, noted.standing()) == ("FakeDriver", (0, None))
    first, second = DesiredPolicy(serial=1), DesiredPolicy(serial=2)
    noted.converge(first)
    assert noted.standing() == (2, first)
    inner.failure = "no room"
    with pytest.raises(DriverError):
        noted.converge(second)
    assert noted.standing() == (4, first), "other turn: what was half written may be in the maps"
    noted.withdraw()
    assert noted.standing()[1] is None


async def test_while_a_round_is_under_way_nothing_stands() -> None:
    seen = []

    class Asking(FakeDriver):
        def converge(self, desired: object) -> tuple[()]:
            seen.append(noted.standing())
            return ()

    noted = NotedDriver(Asking())
    noted.converge(DesiredPolicy())
    assert seen == [(1, None)]
