"""Calico's semantics (policies and rules), one sentence each. Every case is judged twice: by the reference engine, and by the
walk over compiled tables."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from federation.compiler.compiler import compile_tables
from federation.identities import IdentityNumber
from federation.policy.evaluate import Decision, evaluate
from federation.policy.parties import Probe, labels_of, party_of_endpoint, protocol_number
from federation.policy.resolution import tiers_of
from federation.policy.tables import Direction, Verdict
from federation.policy.walk import Packet, peer_row, walk
from federation.policy.world import World, world_of
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource, ObjectKey

OUTSIDE = IPv4Address("203.0.113.7")
ALLOW_ALL = {"action": "Allow"}
DENY_ALL = {"action": "Deny"}


def made(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> AnyResource:
    return decode(
        {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    )


def endpoint(name: str, *addresses: str, **facts: Any) -> AnyResource:
    spec = {"node": "n", "addresses": list(addresses), "ports": facts.get("ports", [])}
    spec["serviceAccount"] = facts.get("account", "")
    where = {"cluster": facts.get("cluster", "dc1"), "namespace": facts.get("namespace", "shop")}
    return made("Endpoint", name, spec, labels={"app": name}, **where)


HTTP = [{"name": "http", "port": 8080}]
WEB = endpoint("web", "10.1.0.1", account="front")
DB = endpoint("db", "10.1.0.2", ports=HTTP)
PAY = endpoint("pay", "10.1.0.3", namespace="pay")
AWS = endpoint("aws", "10.2.0.1", cluster="aws1", ports=[{"name": "http", "port": 9090}])
ENDPOINTS = (WEB, DB, PAY, AWS)


def gnp(name: str = "p", **spec: Any) -> AnyResource:
    return made("GlobalNetworkPolicy", name, {"selector": "app == 'db'", **spec})


def np(name: str = "p", namespace: str = "shop", cluster: str = "", **spec: Any) -> AnyResource:
    meta = {"cluster": cluster} if cluster else {}
    return made("NetworkPolicy", name, spec, namespace=namespace, **meta)


def tier(name: str, order: float | None, action: str = "Deny") -> AnyResource:
    return made("Tier", name, {"defaultAction": action} | ({} if order is None else {"order": order}))


def world(*resources: AnyResource) -> World:
    identities = [
        made("Identity", str(256 + n), {"number": 256 + n, "labels": labels_of(e)})
        for n, e in enumerate(r for r in (*ENDPOINTS, *resources) if r.kind == "Endpoint")
    ]
    return world_of([*ENDPOINTS, *resources, *identities])


def decided(resources: tuple[AnyResource, ...], source: Any, destination: Any, **asked: Any) -> Decision:
    """The engine's decision, once the walk over compiled tables has agreed with it."""
    place = world(*resources)
    probe = Probe(source=end(source), destination=end(destination), **{"destination_port": 8080, **asked})
    decision = evaluate(place, probe)
    for subject, peer, direction, side in (
        (probe.source, probe.destination, Direction.EGRESS, decision.egress),
        (probe.destination, probe.source, Direction.INGRESS, decision.ingress),
    ):
        if isinstance(subject, ObjectKey):
            assert walked(place, subject, peer, direction, probe) == side.verdict
    return decision


def end(party: Any) -> ObjectKey | IPv4Address:
    return party if isinstance(party, IPv4Address) else party.key


def walked(place: World, subject: ObjectKey, peer: Any, direction: Direction, probe: Probe) -> Verdict:
    tables = compile_tables(place, place.endpoints)
    identity, address = IdentityNumber(2), peer
    if isinstance(peer, ObjectKey):
        labels = labels_of(place.endpoints[peer])
        identity = next(n for n, known in place.identities.items() if known == labels)
        address = place.endpoints[peer].spec.addresses[0]
    packet = Packet(
        protocol=protocol_number(probe.protocol), source_port=probe.source_port,
        destination_port=probe.destination_port, icmp_type=probe.icmp_type, icmp_code=probe.icmp_code,
    )  # fmt: skip
    row = peer_row(tables, identity, address)
    return walk(tables, tables.subjects[subject], direction, row, packet)[0]


def allows(*resources: AnyResource, source: Any = WEB, destination: Any = DB, **asked: Any) -> bool:
    return decided(resources, source, destination, **asked).verdict is Verdict.ALLOW


def ingress(entity: dict[str, Any] | None = None, **rule: Any) -> AnyResource:
    """A policy on `db` that allows what one ingress rule matches."""
    return gnp(ingress=[{"action": "Allow", **({"source": entity} if entity else {}), **rule}])


def test_what_no_policy_selects_is_allowed() -> None:
    assert allows(gnp(selector="app == 'nobody'", ingress=[DENY_ALL]))


def test_both_ends_must_allow() -> None:
    assert not allows(gnp(selector="app == 'web'", egress=[DENY_ALL]))
    assert not allows(gnp(ingress=[DENY_ALL]))


def test_a_policy_without_rules_denies_ingress_only() -> None:
    assert not allows(gnp())
    assert allows(gnp(), source=DB, destination=WEB)


def test_the_first_rule_that_matches_wins() -> None:
    assert allows(gnp(ingress=[ALLOW_ALL, DENY_ALL]))
    assert not allows(gnp(ingress=[DENY_ALL, ALLOW_ALL]))


def test_policies_go_by_order_and_those_without_come_last() -> None:
    assert allows(gnp("z", order=1, ingress=[ALLOW_ALL]), gnp("a", ingress=[DENY_ALL]))


def test_ties_go_by_the_string_of_name_namespace_and_kind() -> None:
    assert allows(gnp("allow-dns", ingress=[ALLOW_ALL]), gnp("allow", ingress=[DENY_ALL]))


def test_log_goes_on() -> None:
    assert not allows(gnp(ingress=[{"action": "Log"}, DENY_ALL]))


def test_pass_ends_the_tier_not_only_the_policy() -> None:
    passing = gnp("a", tier="first", order=1, ingress=[{"action": "Pass"}])
    denying = gnp("b", tier="first", order=2, ingress=[DENY_ALL])
    assert allows(tier("first", 1), passing, denying, gnp("c", ingress=[ALLOW_ALL]))
    assert allows(tier("first", 1), passing, denying)


def test_a_tier_that_matched_nothing_ends_in_its_default_action() -> None:
    unmatched = gnp(tier="first", ingress=[{"action": "Allow", "protocol": "UDP"}])
    assert not allows(tier("first", 1), unmatched)
    assert allows(tier("first", 1, "Pass"), unmatched)


def test_a_tier_default_is_named_in_the_decision() -> None:
    side = decided((gnp(),), WEB, DB).ingress
    assert side.reference is not None
    assert (side.reference.tier, side.reference.policy, side.reference.index) == ("default", None, None)


def test_a_tier_of_staged_policies_has_no_default_action() -> None:
    assert allows(made("StagedGlobalNetworkPolicy", "s", {"ingress": [DENY_ALL]}))


def test_staged_policies_in_a_world_are_never_enforced() -> None:
    place = world()
    staged = made("StagedGlobalNetworkPolicy", "s", {"ingress": [DENY_ALL]})
    with_staged = world(staged)
    assert with_staged.policies
    assert tiers_of(with_staged, party_of_endpoint(place, DB), Direction.INGRESS) == ()


def test_a_missing_tier_comes_after_all_others_and_denies() -> None:
    assert allows(gnp("a", ingress=[ALLOW_ALL]), gnp("b", tier="gone", ingress=[DENY_ALL]))
    assert not allows(gnp("b", tier="gone"))


def test_a_tier_without_order_comes_after_the_default_tier() -> None:
    late = (tier("late", None), gnp("b", tier="late", ingress=[DENY_ALL]))
    assert allows(*late, gnp("a", ingress=[ALLOW_ALL]))


def test_a_network_policy_selects_in_its_namespace_and_cluster_only() -> None:
    assert not allows(np())
    assert allows(np(), destination=PAY)
    assert not allows(np(), destination=AWS)
    assert allows(np(cluster="dc1"), destination=AWS)


def test_a_network_policys_selector_means_its_namespace_and_the_subjects_cluster() -> None:
    everyone = np(ingress=[{"action": "Allow", "source": {"selector": "all()"}}])
    assert allows(everyone)
    assert not allows(everyone, source=PAY)
    assert not allows(everyone, source=AWS)


def test_a_selector_that_names_the_cluster_label_reaches_that_cluster() -> None:
    assert allows(np(ingress=[{"action": "Allow", "source": {"selector": "causeway.dev/cluster == 'aws1'"}}]), source=AWS)  # fmt: skip


def test_a_global_policys_selector_reaches_every_cluster() -> None:
    assert allows(ingress({"selector": "app == 'aws'"}), source=AWS)


def test_a_not_selector_alone_binds_a_network_policys_rule_to_its_namespace() -> None:
    rule = np(ingress=[{"action": "Allow", "source": {"notSelector": "app == 'nobody'"}}])
    assert allows(rule)
    assert not allows(rule, source=PAY)
    assert not allows(rule, source=OUTSIDE)


def test_a_network_policys_rule_without_selectors_is_not_bound() -> None:
    assert allows(np(ingress=[{"action": "Allow", "source": {"nets": ["0.0.0.0/0"]}}]), source=OUTSIDE)


def test_a_namespace_selector_goes_by_the_namespaces_name() -> None:
    rule = ingress({"namespaceSelector": "kubernetes.io/metadata.name == 'pay'"})
    assert allows(rule, source=PAY)
    assert not allows(rule)


def test_service_accounts_go_by_name() -> None:
    assert allows(ingress({"serviceAccounts": {"names": ["front"]}}))
    assert not allows(ingress({"serviceAccounts": {"names": ["front"]}}), source=PAY)


def test_not_selector_matches_unknown_addresses_where_a_negated_selector_does_not() -> None:
    assert allows(ingress({"notSelector": "has(app)"}), source=OUTSIDE)
    assert not allows(ingress({"selector": "!has(app)"}), source=OUTSIDE)


def test_a_network_set_is_selected_by_its_labels() -> None:
    nets = made("GlobalNetworkSet", "s", {"nets": ["203.0.113.0/24"]}, labels={"role": "partner"})
    assert allows(nets, ingress({"selector": "role == 'partner'"}), source=OUTSIDE)
    assert not allows(nets, ingress({"selector": "role == 'partner'"}))


def test_prefixes_match_endpoints_too() -> None:
    assert allows(ingress({"nets": ["10.1.0.0/24"]}))
    assert not allows(ingress({"nets": ["10.1.0.0/24"], "notNets": ["10.1.0.1/32"]}))


@pytest.mark.parametrize("field", ["nets", "notNets"])
def test_a_rule_with_ipv6_prefixes_only_is_dropped_for_ipv4(field: str) -> None:
    assert not allows(ingress({field: ["fd00::/8"]}))


def test_a_rule_for_ipv6_is_dropped_for_ipv4() -> None:
    assert not allows(ingress(ipVersion=6))


def test_a_rule_of_a_protocol_and_not_that_protocol_matches_nothing() -> None:
    assert not allows(ingress(protocol="TCP", notProtocol="TCP"))
    assert allows(ingress(protocol="TCP", notProtocol="UDP"))


def test_not_protocol_binds_named_ports_too() -> None:
    assert not allows(ingress(notProtocol="TCP", destination={"ports": ["http"]}))
    egress = {"action": "Allow", "notProtocol": "TCP", "destination": {"ports": ["http"]}}
    assert not allows(gnp(selector="app == 'web'", egress=[egress]))


def test_ports_are_numbers_ranges_or_names_minus_not_ports() -> None:
    policy = ingress(protocol="TCP", destination={"ports": [80, "90:95", "http"], "notPorts": ["92:93"]})
    open_ports = [port for port in (80, 81, 90, 92, 93, 95, 8080) if allows(policy, destination_port=port)]
    assert open_ports == [80, 90, 95, 8080]


def test_a_named_port_is_each_matching_endpoints_own() -> None:
    policy = gnp(selector="app == 'web'", egress=[{"action": "Allow", "protocol": "TCP", "destination": {"selector": "app in {'db', 'aws'}", "ports": ["http"]}}])  # fmt: skip
    assert allows(policy, destination_port=8080)
    assert not allows(policy, destination_port=9090)
    assert allows(policy, destination=AWS, destination_port=9090)


def test_a_named_port_has_the_protocol_that_its_endpoint_gives_it() -> None:
    assert not allows(ingress(protocol="UDP", destination={"ports": ["http"]}), protocol="UDP")


def test_icmp_goes_by_type_and_code() -> None:
    ping = ingress(protocol="ICMP", icmp={"type": 8, "code": 0})
    assert allows(ping, protocol="ICMP", icmp_type=8)
    assert not allows(ping, protocol="ICMP", icmp_type=8, icmp_code=1)
    assert not allows(ping)
    rest = ingress(protocol="ICMP", notICMP={"type": 8})
    assert [allows(rest, protocol="ICMP", icmp_type=kind) for kind in (0, 8)] == [True, False]


def test_the_subjects_own_side_is_asked_too() -> None:
    assert allows(ingress(destination={"selector": "app == 'db'", "nets": ["10.1.0.2/32"]}))
    assert not allows(ingress(destination={"selector": "app == 'web'"}))
    assert not allows(ingress(destination={"notNets": ["10.1.0.2/32"]}))


@pytest.mark.parametrize("action", ["Deny", "Pass", "Allow"])
def test_where_an_endpoints_addresses_disagree_the_class_is_never_wider(action: str) -> None:
    twin = endpoint("twin", "10.1.0.8", "10.1.0.9")
    rest = DENY_ALL if action == "Allow" else ALLOW_ALL
    rule = {"action": action, "destination": {"nets": ["10.1.0.9/32"]}}
    place = world(twin, gnp(selector="app == 'twin'", ingress=[rule, rest]))
    probe = Probe(source=WEB.key, destination=twin.key, destination_port=8080)
    assert walked(place, twin.key, WEB.key, Direction.INGRESS, probe) is Verdict.DENY


def test_an_endpoint_with_ipv6_alone_does_not_stop_its_node() -> None:
    sixth = endpoint("sixth", "fd00::1")
    place = world(sixth, gnp(ingress=[ALLOW_ALL]))
    assert sixth.key in compile_tables(place, place.endpoints).subjects


def test_an_address_that_is_an_endpoints_is_that_endpoint() -> None:
    policies = (ingress({"selector": "app == 'web'"}),)
    assert evaluate(world(*policies), Probe(source=IPv4Address("10.1.0.1"), destination=DB.key)).verdict.value
    assert not evaluate(world(*policies), Probe(source=OUTSIDE, destination=DB.key)).verdict.value


def test_an_unknown_endpoint_is_an_error() -> None:
    with pytest.raises(KeyError):
        evaluate(world(), Probe(source=WEB.key, destination=ObjectKey("Endpoint", "dc1", "shop", "ghost")))
