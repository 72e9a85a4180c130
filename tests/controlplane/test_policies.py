"""Policies of every world in the control plane: who is told of them, and what they say of themselves."""

from typing import Any

import pytest

from controlplane.access.actor import inside
from controlplane.intent import Change, Verb
from controlplane.service import ControlPlane
from federation import wire
from federation.errors import Conflict, NotFound
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource
from tests.controlplane.test_service import take, two_clusters

WEB = {"endpointSelector": {"matchLabels": {"app": "web"}}}


def taken(version: str, kind: str, spec: Any, cluster: str = "", **meta: Any) -> Change:
    labels = {"causeway.dev/cluster": cluster} if cluster else {}
    body = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "p", "labels": labels, **meta},
        "spec": spec,
    }
    resource = decode(body)
    return Change(verb=Verb.APPLY, key=resource.key, resource=resource)


def kubernetes(cluster: str = "", **spec: Any) -> Change:
    return taken(
        "networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}, **spec}, cluster, namespace="shop"
    )


def cilium(spec: dict[str, Any], cluster: str = "dc1") -> Change:
    return taken("cilium.io/v2", "CiliumNetworkPolicy", {**WEB, **spec}, cluster, namespace="shop")


def calico(kind: str = "GlobalNetworkPolicy", **spec: Any) -> Change:
    return taken("projectcalico.org/v3", kind, spec)


async def applied(plane: ControlPlane, change: Change) -> AnyResource:
    (outcome,) = (await plane.change([change], actor=inside("t"))).outcomes
    assert outcome.resource is not None
    return outcome.resource


async def told(plane: ControlPlane, *changes: Change) -> tuple[set[str], set[str]]:
    """What an agent of dc1 and one of aws1 (there is no link) hear of some changes."""
    sessions = await two_clusters(plane)
    await plane.change(changes, actor=inside("t"))
    heard = []
    for session in sessions:
        stream = plane.stream(session, None)
        documents = [m.document for m in await take(stream) if isinstance(m, wire.Upsert)]
        heard.append(
            {
                f"{d['kind']} {d['metadata'].get('cluster', '')}"
                for d in documents
                if d["metadata"]["name"] == "p"
            }
        )
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    return heard[0], heard[1]


async def test_a_policy_of_a_cluster_is_told_to_its_agents_and_one_of_none_to_all(
    plane: ControlPlane,
) -> None:
    dc1, aws1 = await told(
        plane, kubernetes("dc1"), kubernetes(), cilium({"ingress": [{}]}, "aws1"),
        taken("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", {"priority": 1, "subject": {"namespaces": {}}}),
        taken("v1", "Namespace", {}, "dc1"), calico("StagedGlobalNetworkPolicy"),
        taken("projectcalico.org/v3", "StagedKubernetesNetworkPolicy", {}, namespace="shop"),
    )  # fmt: skip
    assert dc1 == {
        "KubernetesNetworkPolicy dc1",
        "KubernetesNetworkPolicy ",
        "AdminNetworkPolicy ",
        "Namespace dc1",
    }
    assert aws1 == {"KubernetesNetworkPolicy ", "AdminNetworkPolicy ", "CiliumNetworkPolicy aws1"}


HTTP = [{"action": "Allow", "protocol": "TCP", "http": {"methods": ["GET"]}}]
L7 = [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}}]


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (kubernetes("dc1"), "Whole", ""),
        (calico(ingress=[{"action": "Allow"}]), "Whole", ""),
        (calico(ingress=HTTP), "Partly", "ingress/0: http is not enforced by this release: the rule never matches"),
        (calico(egress=[{"action": "Deny", "destination": {"services": {"name": "s", "namespace": "x"}}}]), "Partly", "egress/0: services is not enforced by this release: the rule denies by all the rest"),
        (cilium({"egress": [{"toFQDNs": [{"matchName": "a.example"}]}, {"toCIDR": ["10.0.0.0/8"]}]}), "Partly", "egress/0: toFQDNs"),
        (cilium({"ingress": [{"toPorts": L7}]}), "Partly", "rules.http"),
        (cilium({"egressDeny": [{"toServices": [{"k8sServiceSelector": {"selector": {}}}]}]}), "Partly", "services is not enforced by this release: the rule denies"),
        (cilium({"ingressDeny": [{"fromEntities": ["host"]}]}), "Partly", "always let in by the kernel"),
        (cilium({"ingressDeny": [{"fromEntities": ["remote-node"]}]}), "Whole", ""),
        (taken("cilium.io/v2", "CiliumClusterwideNetworkPolicy", {"nodeSelector": {}, "ingress": [{}]}, "dc1"), "Hosts", "selects hosts"),
        (calico(selector="all()", doNotTrack=True, applyOnForward=True), "Whole", ""),
        (calico("StagedGlobalNetworkPolicy"), "Staged", "never enforced"),
    ],
)  # fmt: skip
async def test_a_policy_says_what_of_it_is_not_enforced(
    plane: ControlPlane, change: Change, reason: str, said: str
) -> None:
    await two_clusters(plane)
    (condition,) = (await applied(plane, change)).status.conditions
    assert (condition.type, condition.status) == ("Enforceable", "True" if reason == "Whole" else "False")
    assert condition.reason == reason
    assert said in condition.message
    assert condition.since
    stored = await plane.get(change.key)
    kept, *more = stored.status.conditions
    assert kept == condition
    assert [c.type for c in more] == ([] if reason == "Staged" else ["Enforced"])


async def test_a_condition_keeps_its_time_until_it_says_something_else(
    plane: ControlPlane, clock: Any
) -> None:
    (first,) = (await applied(plane, calico(ingress=HTTP))).status.conditions
    clock.seconds += 60
    (second,) = (await applied(plane, calico(ingress=HTTP, order=1))).status.conditions
    assert second == first
    (third,) = (await applied(plane, calico())).status.conditions
    assert (third.status, third.since > first.since) == ("True", True)


async def test_a_policy_of_a_cluster_that_is_not_there_is_refused_and_a_cluster_with_policies_stays(
    plane: ControlPlane,
) -> None:
    with pytest.raises(NotFound, match="Cluster dc1"):
        await applied(plane, kubernetes("dc1"))
    cluster = taken("causeway.dev/v1", "Cluster", {"prefixes": ["10.10.0.0/16"]})
    await applied(plane, cluster)
    await applied(plane, kubernetes("p"))
    with pytest.raises(Conflict, match="KubernetesNetworkPolicy p/shop/p"):
        await plane.change([Change(verb=Verb.DELETE, key=cluster.key)], actor=inside("t"))


async def test_built_in_tiers_need_no_document(plane: ControlPlane) -> None:
    assert (await applied(plane, calico(tier="kube-admin"))).spec.tier == "kube-admin"
    with pytest.raises(NotFound, match="Tier gone"):
        await applied(plane, calico(tier="gone"))
