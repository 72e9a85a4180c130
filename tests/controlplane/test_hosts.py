"""Calico's HostEndpoints and Profiles in the control plane: taken as they come, refused where they cannot be, told to whom they concern."""

from typing import Any

import pytest

from controlplane.access.actor import inside
from controlplane.intent import Change, ListQuery, Verb
from controlplane.service import ControlPlane
from federation.errors import Conflict, InvalidInput, NotFound, Overlap
from federation.kinds.registry import kind_named
from federation.resources.codec import decode, encode
from federation.resources.metadata import AnyResource
from tests.controlplane.test_policies import applied, taken, told
from tests.controlplane.test_service import endpoint, joined, two_clusters

V3 = "projectcalico.org/v3"
CALICOCTL = {
    "apiVersion": V3, "kind": "HostEndpoint",
    "metadata": {
        "name": "n1-eth0", "labels": {"role": "edge", "causeway.dev/cluster": "dc1"}, "uid": "u", "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {
        "node": "n1", "interfaceName": "eth0", "expectedIPs": ["192.0.10.1", "fd00::1"], "profiles": ["projectcalico-default-allow"],
        "ports": [{"name": "web", "protocol": "UDP", "port": 8443}],
    },
}  # fmt: skip


def applying(document: dict[str, Any]) -> Change:
    resource = decode(document)
    return Change(verb=Verb.APPLY, key=resource.key, resource=resource)


def hep(name: str = "p", node: str = "n1", *expected: str, cluster: str = "dc1") -> Change:
    spec = {"node": node, "interfaceName": "*", "expectedIPs": list(expected)}
    return taken(V3, "HostEndpoint", spec, cluster, name=name)


def profile(name: str, cluster: str = "", **spec: Any) -> Change:
    return taken(V3, "Profile", spec, cluster, name=name)


async def test_a_host_endpoint_is_taken_as_calico_gives_it_and_shown_in_a_table(plane: ControlPlane) -> None:
    await two_clusters(plane)
    stored = await applied(plane, applying(CALICOCTL))
    assert (stored.key.path, stored.metadata.labels["role"]) == ("dc1/n1-eth0", "edge")
    assert encode(stored)["spec"] == CALICOCTL["spec"]
    (listed,) = (await plane.list(ListQuery(kind=kind_named("hostendpoints").name))).resources
    shown = {column.title: column.value(listed) for column in kind_named("hep").columns}
    assert (shown["NODE"], shown["INTERFACE"], shown["EXPECTED IPS"], shown["ENFORCEABLE"]) == (
        "n1", "eth0", "192.0.10.1,fd00::1", "True",
    )  # fmt: skip


async def test_a_stored_host_as_kubectl_shows_it_is_taken_too(plane: ControlPlane) -> None:
    await two_clusters(plane)
    assert (await applied(plane, applying({**CALICOCTL, "apiVersion": "crd.projectcalico.org/v1"}))).spec.node


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({**CALICOCTL, "spec": {"node": "n1"}}, "/spec"),
        ({**CALICOCTL, "spec": {**CALICOCTL["spec"], "interfaceName": "eth 0"}}, "/spec/interfaceName"),  # type: ignore[dict-item]
        ({**CALICOCTL, "metadata": {"name": "h"}}, "/metadata/cluster"),
        ({"apiVersion": V3, "kind": "Profile", "metadata": {"name": "x"}, "spec": {"ingress": [{"action": "Go"}]}}, "/spec/ingress/0/action"),
    ],
)  # fmt: skip
def test_what_calicos_api_refuses_is_refused_where_it_stands(document: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        applying(document)
    assert pointer in [fault.pointer for fault in caught.value.faults]


def condition(resource: AnyResource) -> tuple[str, str]:
    (found,) = resource.status.conditions
    assert (found.type, bool(found.since)) == ("Enforceable", True)
    return found.status, found.reason


async def test_a_host_endpoint_says_that_its_node_polices_it(plane: ControlPlane) -> None:
    await two_clusters(plane)
    stored = await applied(plane, hep())
    assert condition(stored) == ("True", "Whole")
    assert (await plane.get(stored.key)).status == stored.status


async def test_the_node_of_a_host_endpoint_must_be_there_and_stays_while_one_names_it(
    plane: ControlPlane,
) -> None:
    await two_clusters(plane)
    with pytest.raises(NotFound, match="Node dc1/n7"):
        await applied(plane, hep(node="n7"))
    with pytest.raises(NotFound, match="Cluster gone"):
        await applied(plane, hep(cluster="gone"))
    host = await applied(plane, hep())
    node = decode(
        {"apiVersion": "causeway.dev/v1", "kind": "Node", "metadata": {"name": "n1", "cluster": "dc1"}}
    )
    with pytest.raises(Conflict, match="HostEndpoint dc1/p"):
        await plane.change([Change(verb=Verb.DELETE, key=node.key)], actor=inside("t"))
    deleted = [Change(verb=Verb.DELETE, key=key) for key in (node.key, host.key)]
    assert len((await plane.change(deleted, actor=inside("t"))).outcomes) == 2


async def test_agents_of_its_cluster_and_of_linked_ones_hear_of_a_host_endpoint_and_all_of_a_profile_of_none(
    plane: ControlPlane,
) -> None:
    dc1, aws1 = await told(plane, hep(), profile("p"), profile("p", "aws1"))
    assert dc1 == {"HostEndpoint dc1", "Profile "}
    assert aws1 == {"Profile ", "Profile aws1"}


async def test_an_address_that_a_host_endpoint_expects_is_nobody_elses(plane: ControlPlane) -> None:
    await two_clusters(plane)
    await plane.change([endpoint("a", "10.10.1.1")], actor=inside("t"))
    with pytest.raises(Overlap, match="Endpoint dc1/shop/a"):
        await applied(plane, hep("h", "n1", "10.10.1.1"))
    with pytest.raises(Overlap, match="Node aws1/n1"):
        await applied(plane, hep("h", "n1", "192.0.20.1"))
    await applied(plane, hep("h", "n1", "192.0.10.1", "10.10.1.2"))
    with pytest.raises(Overlap, match="HostEndpoint dc1/h"):
        await plane.change([endpoint("b", "10.10.1.2")], actor=inside("t"))


async def test_several_host_endpoints_of_a_node_may_expect_one_address_and_the_last_gives_it_back(
    plane: ControlPlane,
) -> None:
    await two_clusters(plane)
    await joined(plane, node="n2", third=2)
    first, second = hep("a", "n1", "10.10.1.2"), hep("b", "n1", "10.10.1.2")
    await plane.change([first, second], actor=inside("t"))
    workload = endpoint("e", "10.10.1.2")
    for gone in (Change(verb=Verb.DELETE, key=first.key), hep("b", "n2", "10.10.1.2")):
        await plane.change([gone], actor=inside("t"))
        with pytest.raises(Overlap, match="HostEndpoint dc1/b"):
            await plane.change([workload], actor=inside("t"))
    await plane.change([Change(verb=Verb.DELETE, key=second.key)], actor=inside("t"))
    await plane.change([workload], actor=inside("t"))


async def test_a_node_may_get_an_address_that_its_own_host_endpoint_expects(plane: ControlPlane) -> None:
    await two_clusters(plane)
    host = await applied(plane, hep("h", "n1", "192.0.10.77"))
    node = await plane.get(decode({"apiVersion": "causeway.dev/v1", "kind": "Node", "metadata": {"name": "n1", "cluster": "dc1"}}).key)  # fmt: skip
    document = encode(node)
    document["spec"]["addresses"] += ["192.0.10.77"]
    await applied(plane, applying(document))
    await plane.change([Change(verb=Verb.DELETE, key=host.key)], actor=inside("t"))
    other = decode({**document, "metadata": {"name": "n9", "cluster": "dc1"}, "spec": {"addresses": ["192.0.10.77"]}})  # fmt: skip
    with pytest.raises(Overlap, match="Node dc1/n1"):
        await plane.change([Change(verb=Verb.APPLY, key=other.key, resource=other)], actor=inside("t"))


async def test_a_policy_on_what_passes_through_hosts_is_enforced(plane: ControlPlane) -> None:
    await two_clusters(plane)
    stored = await applied(plane, taken(V3, "GlobalNetworkPolicy", {"applyOnForward": True}))
    assert condition(stored) == ("True", "Whole")
