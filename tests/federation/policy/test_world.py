"""What resources come to, for policy."""

from ipaddress import ip_address
from typing import Any

from federation.policy.evaluate import evaluate
from federation.policy.parties import Probe
from federation.policy.tables import Verdict
from federation.policy.world import Backend, world_of
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource, ObjectKey

POD = ObjectKey("Endpoint", "dc1", "shop", "web")


def resource(
    kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None, **meta: Any
) -> AnyResource:
    body = {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    return decode({**body, "status": status or {}}, is_trusted=True)


WEB = resource("Endpoint", "web", {"node": "n1", "addresses": ["10.0.0.1"]}, cluster="dc1", namespace="shop")
NODE = resource("Node", "n2", {"addresses": ["192.0.2.2"]}, {"tunnelAddress": "100.64.0.2"}, cluster="dc1")


def verdict(source: str, *resources: AnyResource, services: Any = None) -> Verdict:
    world = world_of([WEB, NODE, *resources], services)
    return evaluate(world, Probe(source=ip_address(source), destination=POD, destination_port=80)).verdict


def cilium(**spec: Any) -> AnyResource:
    return resource(
        "CiliumNetworkPolicy", "p", {"endpointSelector": {}, **spec}, cluster="dc1", namespace="shop"
    )


def test_a_node_is_known_by_its_address_inside_tunnels_too() -> None:
    policy = cilium(ingress=[{"fromEntities": ["remote-node"]}])
    assert [verdict(a, policy) for a in ("192.0.2.2", "100.64.0.2", "100.64.0.3")] == [
        Verdict.ALLOW, Verdict.ALLOW, Verdict.DENY,
    ]  # fmt: skip


def test_where_nobody_says_who_serves_services_rules_that_name_one_are_closed() -> None:
    source = {"services": {"name": "s", "namespace": "x"}}
    allow = resource(
        "GlobalNetworkPolicy", "p", {"types": ["Ingress"], "ingress": [{"action": "Allow", "source": source}]}
    )
    deny = resource(
        "GlobalNetworkPolicy",
        "p",
        {"types": ["Ingress"], "ingress": [{"action": "Deny", "source": source}, {"action": "Allow"}]},
    )
    known = {("dc1", "x", "s"): (Backend(address=ip_address("10.9.9.9"), protocol=6, port=80),)}
    assert [verdict("10.9.9.9", allow), verdict("10.9.9.9", allow, services=known)] == [
        Verdict.DENY,
        Verdict.ALLOW,
    ]
    assert [verdict("8.8.8.8", deny), verdict("8.8.8.8", deny, services=known)] == [
        Verdict.DENY,
        Verdict.ALLOW,
    ]


def test_a_group_of_prefixes_is_its_cluster_s_or_everybody_s_and_the_cluster_s_own_wins() -> None:
    policy = cilium(ingress=[{"fromCIDRSet": [{"cidrGroupRef": "g"}]}])

    def group(prefix: str, **meta: Any) -> AnyResource:
        return resource("CiliumCIDRGroup", "g", {"externalCIDRs": [prefix]}, **meta)

    assert verdict("8.8.8.8", policy) is Verdict.DENY
    assert verdict("8.8.8.8", policy, group("8.0.0.0/8")) is Verdict.ALLOW
    assert verdict("8.8.8.8", policy, group("8.0.0.0/8", cluster="aws1")) is Verdict.DENY
    assert verdict("8.8.8.8", policy, group("9.0.0.0/8", cluster="dc1"), group("8.0.0.0/8")) is Verdict.DENY
