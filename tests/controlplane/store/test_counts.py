"""Counts of rules: each node's newest word, summed; on both databases."""

from typing import Any

import pytest

from controlplane.access.actor import inside
from controlplane.intent import Change, NodeSession, RuleCount, Verb
from controlplane.service import ControlPlane
from federation.errors import InvalidInput, NotFound
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey

WEB = ObjectKey("GlobalNetworkPolicy", "", "", "web")
ONE, OTHER = NodeSession(cluster="dc1", node="n1"), NodeSession(cluster="aws1", node="n1")


def count(rule: int, packets: int, policy: ObjectKey = WEB) -> RuleCount:
    return RuleCount(policy=policy, section="ingress", rule=rule, packets=packets, bytes=60 * packets)


async def create(plane: ControlPlane, name: str = "web") -> None:
    document: dict[str, Any] = {"apiVersion": "causeway.dev/v1", "kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": {"selector": "all()"}}  # fmt: skip
    resource = decode(document)
    await plane.change([Change(verb=Verb.APPLY, key=resource.key, resource=resource)], actor=inside("test"))


async def sums(plane: ControlPlane) -> tuple[dict[int, tuple[int, int]], int]:
    found, nodes = await plane.rule_counts("GlobalNetworkPolicy", "web")
    return {c.rule: (c.packets, c.bytes) for c in found}, nodes


async def test_the_newest_word_of_each_node_is_summed(plane: ControlPlane) -> None:
    await create(plane)
    assert await sums(plane) == ({}, 0)
    await plane.count(ONE, [count(0, 5), count(1, 1)])
    await plane.count(OTHER, [count(0, 2**40)])
    await plane.count(ONE, [count(0, 7), count(0, 8)])
    assert await sums(plane) == ({0: (8 + 2**40, 60 * (8 + 2**40)), 1: (1, 60)}, 2)
    await plane.count(ONE, [])
    assert (await sums(plane))[1] == 2


async def test_a_policy_that_is_deleted_takes_its_counts_along(plane: ControlPlane) -> None:
    await create(plane)
    await plane.count(ONE, [count(0, 5)])
    await plane.change([Change(verb=Verb.DELETE, key=WEB)], actor=inside("test"))
    with pytest.raises(NotFound, match="web"):
        await sums(plane)
    await plane.count(ONE, [count(0, 6)])  # by a node that has not heard of it yet
    await create(plane)
    assert await sums(plane) == ({}, 0)


async def test_a_path_that_names_no_policy_is_refused(plane: ControlPlane) -> None:
    with pytest.raises(InvalidInput):
        await plane.rule_counts("GlobalNetworkPolicy", "a/b")
