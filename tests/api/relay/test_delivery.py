"""What nodes say reaches the control plane: the last word of each, once, and again after it was away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api.relay.delivery import Delivery
from controlplane.intent import NodeReport, RuleCount
from federation.errors import CausewayError, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey
from tests.api.relay.conftest import until
from tests.scenarios.conftest import EagerClock


class Centre:
    def __init__(self) -> None:
        self.error: CausewayError | None = None
        self.got: list[tuple[str, str, Any]] = []

    async def send(self, path: str, behalf: str, body: Any) -> None:
        if self.error is not None:
            raise self.error
        self.got.append((path.rpartition("/")[2], behalf, body))


@asynccontextmanager
async def delivering(centre: Centre) -> AsyncIterator[Delivery]:
    delivery = Delivery(centre.send, EagerClock())
    task = asyncio.ensure_future(delivery.run())
    try:
        yield delivery
    finally:
        task.cancel()
        await asyncio.wait([task])


def count(rule: int, packets: int) -> RuleCount:
    policy = ObjectKey("GlobalNetworkPolicy", "", "", "p")
    return RuleCount(policy=policy, section="ingress", rule=rule, packets=packets, bytes=packets)


def reports(centre: Centre) -> list[tuple[str, int]]:
    return sorted((behalf, body["revision"]) for what, behalf, body in centre.got if what == "report")


async def test_the_last_word_of_each_node_is_told_once_the_control_plane_is_back() -> None:
    centre = Centre()
    centre.error = Unavailable("away")
    async with delivering(centre) as delivery:
        for revision in range(5):
            for node in ("n1", "n2"):
                delivery.report(node, f"{node}'s", NodeReport(revision=revision))
        delivery.count("n1", "n1's", [count(0, 1), count(1, 1)])
        delivery.count("n1", "n1's", [count(0, 7)])
        assert delivery.size == 2
        centre.error = None
        await until(lambda: delivery.size == 0)
    assert reports(centre) == [("n1's", 4), ("n2's", 4)]
    (counts,) = [body["counts"] for what, _, body in centre.got if what == "counts"]
    assert sorted((c["rule"], c["packets"]) for c in counts) == [(0, 7), (1, 1)]


async def test_all_is_told_again_to_a_control_plane_that_was_away() -> None:
    centre = Centre()
    async with delivering(centre) as delivery:
        delivery.report("n1", "n1's", NodeReport(revision=3))
        delivery.count("n1", "n1's", [count(rule, 1) for rule in range(1500)])
        await until(lambda: delivery.size == 0)
        told = list(centre.got)
        centre.got.clear()
        delivery.again()
        await until(lambda: delivery.size == 0)
    assert len(told) == len(centre.got) == 3  # counts in two parts


async def test_a_node_that_is_refused_holds_up_nobody() -> None:
    centre = Centre()
    centre.error = Unauthenticated("void")
    async with delivering(centre) as delivery:
        delivery.report("n1", "n1's", NodeReport(revision=3))
        await until(lambda: delivery.size == 0)
        centre.error = None
        delivery.report("n2", "n2's", NodeReport(revision=4))
        delivery.again()
        await until(lambda: delivery.size == 0)
    assert set(reports(centre)) == {("n2's", 4)}
