"""What nodes say reaches the control plane: the last word of each, once, and again after it was away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.relay.delivery import Delivery
from controlplane.intent import NodeReport, RuleCount
from federation.errors import CausewayError, NotFound, TooLarge, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey
from tests.api.relay.conftest import until
from tests.scenarios.conftest import EagerClock


class Centre:
    def __init__(self) -> None:
        self.error: CausewayError | None = None
        self.got: list[tuple[str, str, Any]] = []
        self.is_old = False
        self.refuses: set[str] = set()
        self.requests = 0

    async def send(self, path: str, behalf: str, body: Any) -> dict[str, Any]:
        what = path.rpartition("/")[2]
        if what == "reports" and self.is_old:
            raise NotFound("no such route")
        if self.error is not None:
            raise self.error
        if what != "reports":
            self.got.append((what, behalf, body))
            return {}
        self.requests += 1
        refused = []
        for index, item in enumerate(body["reports"]):
            if item["behalf"] in self.refuses:
                refused.append({"index": index, "code": "unauthenticated", "detail": "void"})
            else:
                self.got.append(("report", item["behalf"], item))
        return {"refused": refused}


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


@pytest.mark.parametrize("is_old", [True, False])
async def test_a_node_that_is_refused_holds_up_nobody(is_old: bool) -> None:
    centre = Centre()
    centre.is_old = is_old
    if is_old:
        centre.error = Unauthenticated("void")
    centre.refuses = {"n1's"}
    async with delivering(centre) as delivery:
        delivery.report("n1", "n1's", NodeReport(revision=3))
        await until(lambda: delivery.size == 0)
        centre.error = None
        delivery.report("n2", "n2's", NodeReport(revision=4))
        delivery.again()
        await until(lambda: delivery.size == 0)
    assert set(reports(centre)) == {("n2's", 4)}


async def test_reports_of_many_nodes_are_told_in_few_requests_and_one_that_is_refused_holds_up_no_other() -> (
    None
):
    centre = Centre()
    centre.error = Unavailable("away")
    centre.refuses = {"n7's"}
    async with delivering(centre) as delivery:
        for number in range(1000):
            delivery.report(f"n{number}", f"n{number}'s", NodeReport(revision=3))
        centre.error = None
        await until(lambda: delivery.size == 0)
    assert centre.requests == 3
    assert len(reports(centre)) == 999


async def test_a_control_plane_of_a_release_before_is_told_one_by_one() -> None:
    centre = Centre()
    centre.is_old = True
    async with delivering(centre) as delivery:
        for number in range(20):
            delivery.report(f"n{number}", f"n{number}'s", NodeReport(revision=3))
        await until(lambda: delivery.size == 0)
    assert len(reports(centre)) == 20


async def test_reports_that_are_too_much_together_are_told_one_by_one_and_a_refused_relay_waits() -> None:
    class Narrow(Centre):
        async def send(self, path: str, behalf: str, body: Any) -> dict[str, Any]:
            if path.endswith("reports"):
                raise TooLarge("too large")
            return await super().send(path, behalf, body)

    centre = Narrow()
    async with delivering(centre) as delivery:
        delivery.report("n1", "n1's", NodeReport(revision=3))
        await until(lambda: delivery.size == 0)
    assert reports(centre) == [("n1's", 3)]

    class Closed(Centre):
        tries = 0

        async def send(self, path: str, behalf: str, body: Any) -> dict[str, Any]:
            self.tries += 1
            if self.tries < 3:
                raise Unauthenticated("the relay's certificate is void")
            return await super().send(path, behalf, body)

    closed = Closed()
    async with delivering(closed) as delivery:
        delivery.report("n1", "n1's", NodeReport(revision=3))
        await until(lambda: delivery.size == 0)
    assert reports(closed) == [("n1's", 3)]
