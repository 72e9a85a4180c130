"""Policies of Kubernetes, Cilium and administrators, from intent to verdict, beside each other."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from controlplane.service import ControlPlane

HOME = {"cluster": "aws1", "namespace": "shop"}


def isolate() -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}
    return {"kind": "KubernetesNetworkPolicy", "name": "db", "spec": spec, **HOME}


def across() -> dict[str, Any]:
    peer = {
        "matchLabels": {
            "app": "web",
            "io.cilium.k8s.policy.cluster": "dc1",
            "k8s:io.cilium.k8s.namespace.labels.team": "a",
        }
    }
    spec = {"endpointSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"fromEndpoints": [peer]}]}
    return {"kind": "CiliumNetworkPolicy", "name": "db", "spec": spec, **HOME}


def forbid() -> dict[str, Any]:
    rule = {"action": "Deny", "to": [{"networks": ["10.20.0.0/16"]}]}
    return {
        "kind": "AdminNetworkPolicy",
        "name": "no",
        "spec": {"priority": 1, "subject": {"namespaces": {}}, "egress": [rule]},
        "cluster": "dc1",
    }


def space(team: str) -> dict[str, Any]:
    return {"kind": "Namespace", "name": "shop", "spec": {}, "cluster": "dc1", "labels": {"team": team}}


async def test_they_are_one_policy_of_the_node_and_follow_a_namespace_s_labels(system: Any) -> None:
    async with AsyncExitStack() as stack:
        plane: ControlPlane = await stack.enter_async_context(system.control_plane())
        await system.furnish(plane)
        dc1, aws1 = await system.members(stack, plane)

        async def after(*wanted: dict[str, Any]) -> tuple[bool, bool]:
            assert (await plane.rollout(await system.apply(plane, *wanted), 10)).is_complete
            return dc1.allows(), aws1.allows()

        assert await after(system.link) == (True, True)
        assert await after(isolate()) == (True, False)
        assert await after(across()) == (True, False)
        assert await after(space("a")) == (True, True)
        assert await after(space("b")) == (True, False)
        assert await after(space("a"), forbid()) == (False, True)


@pytest.mark.parametrize("policy", [isolate(), across(), forbid()])
async def test_taking_one_away_leaves_nothing_of_it(system: Any, policy: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(system.control_plane())
        await system.furnish(plane)
        dc1, aws1 = await system.members(stack, plane)
        await system.apply(plane, system.link, space("a"))
        await system.apply(plane, policy)
        revision = await system.delete(plane, policy)
        assert (await plane.rollout(revision, 10)).is_complete
        assert (dc1.allows(), aws1.allows()) == (True, True)
