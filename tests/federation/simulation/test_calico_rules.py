"""Calico's rules, field by field: what each asks of the two ends. One sentence each (its page: rule, entity rule)."""

from collections.abc import Callable

import pytest

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def doc(kind: str, spec: str, meta: str = "name: p") -> str:
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{{meta}}}, spec: {spec}}}"


def rule(text: str, action: str = "Allow") -> str:
    """An ingress rule of a global policy on x/a."""
    spec = f"{{selector: pod == 'a' && projectcalico.org/namespace == 'x', ingress: [{{action: {action}, {text}}}]}}"
    return doc("GlobalNetworkPolicy", spec)


def out(text: str) -> str:
    """An egress rule of a global policy on x/a."""
    spec = (
        f"{{selector: pod == 'a' && projectcalico.org/namespace == 'x', egress: [{{action: Allow, {text}}}]}}"
    )
    return doc("GlobalNetworkPolicy", spec)


def own(text: str) -> str:
    """An ingress rule of a policy of namespace x."""
    return doc("NetworkPolicy", f"{{ingress: [{{action: Allow, {text}}}]}}", "name: p, namespace: x")


GLOBAL_SET = doc("GlobalNetworkSet", "{nets: [8.0.0.0/8]}", "name: g, labels: {role: dns}")
OWN_SET = doc("NetworkSet", "{nets: [9.0.0.0/8]}", "name: s, namespace: x, labels: {role: dns}")
OTHER_SET = doc("NetworkSet", "{nets: [7.0.0.0/8]}", "name: s, namespace: y, labels: {role: dns}")
SETS = (GLOBAL_SET, OWN_SET, OTHER_SET)
PEERS = ("x/b", "y/b", "8.8.8.8", "9.9.9.9", "7.7.7.7", "6.6.6.6")


def allowed(said: Ask, *peers: str) -> set[str]:
    return {peer for peer in peers or PEERS if said(peer, "x/a") == "Allow"}


def test_all_fields_of_a_rule_must_hold_and_one_entry_of_each_list(ask: Asker) -> None:
    said = ask(
        rule(
            "protocol: TCP, source: {nets: [10.0.0.0/24, 10.0.1.0/24], selector: \"pod in {'a', 'b'}\", notSelector: pod == 'a'}, destination: {ports: [80, 90]}"
        )
    )
    assert allowed(said, "x/b", "y/a", "y/b", "10.0.0.99") == {"x/b", "y/b"}
    assert [said("x/b", "x/a", port) for port in (80, 85, 90)] == ["Allow", "Deny", "Allow"]
    assert said("x/b", "x/a", 80, "UDP") == "Deny"


def test_none_of_an_unwanted_list_may_hold(ask: Asker) -> None:
    said = ask(
        rule(
            "protocol: TCP, source: {notNets: [10.0.0.2/32, 9.0.0.0/8]}, destination: {notPorts: [81, '90:99', dns, http]}"
        )
    )
    assert allowed(said, "x/b", "y/b", "9.9.9.9", "8.8.8.8") == set()
    assert [said("y/b", "x/a", port) for port in (80, 81, 82, 95)] == ["Deny", "Deny", "Allow", "Deny"]


def test_a_negated_selector_means_known_ends_and_network_sets_and_a_not_selector_also_strangers(
    ask: Asker,
) -> None:
    assert allowed(ask(*SETS, rule("source: {selector: '!has(role)'}"))) == {"x/b", "y/b"}
    assert allowed(ask(*SETS, rule("source: {notSelector: has(role)}"))) == {"x/b", "y/b", "6.6.6.6"}
    assert allowed(ask(*SETS, rule("source: {selector: '!has(pod)'}"))) == {"8.8.8.8", "9.9.9.9", "7.7.7.7"}
    assert allowed(ask(*SETS, rule("source: {notSelector: has(pod)}"))) == {
        "8.8.8.8",
        "9.9.9.9",
        "7.7.7.7",
        "6.6.6.6",
    }


def test_a_selector_and_a_not_selector_are_one_set(ask: Asker) -> None:
    both = doc("GlobalNetworkSet", "{nets: [8.8.0.0/16]}", "name: inner, labels: {role: dns, tainted: 'yes'}")
    said = ask(GLOBAL_SET, both, rule("source: {selector: role == 'dns', notSelector: has(tainted)}"))
    assert allowed(said, "8.8.8.8", "8.1.1.1", "6.6.6.6") == {
        "8.8.8.8",
        "8.1.1.1",
    }  # the outer set alone has it
    said = ask(GLOBAL_SET, both, rule("source: {notSelector: has(tainted)}"))
    assert allowed(said, "8.8.8.8", "8.1.1.1", "6.6.6.6") == {"8.1.1.1", "6.6.6.6"}


def test_any_selector_in_a_namespaced_rule_keeps_it_to_its_namespace_not_selector_too(ask: Asker) -> None:
    assert allowed(ask(*SETS, own("source: {selector: all()}"))) == {"x/b", "9.9.9.9"}
    assert allowed(ask(*SETS, own("source: {notSelector: role == 'zz'}"))) == {"x/b", "9.9.9.9"}
    assert allowed(ask(*SETS, own("source: {serviceAccounts: {names: [default]}}"))) == {"x/b"}
    assert allowed(ask(*SETS, own("source: {serviceAccounts: {selector: '!has(zz)'}}"))) == {"x/b"}


def test_a_namespaced_rule_with_prefixes_or_ports_alone_is_not_kept_to_its_namespace(ask: Asker) -> None:
    assert allowed(ask(*SETS, own("source: {nets: [0.0.0.0/0]}"))) == set(PEERS)
    assert allowed(ask(*SETS, own("source: {notNets: [9.0.0.0/8]}"))) == set(PEERS) - {"9.9.9.9"}
    assert allowed(ask(*SETS, own("protocol: TCP, destination: {ports: [80]}"))) == set(PEERS)


def test_a_namespace_selector_widens_a_namespaced_rule_to_the_namespaces_that_it_selects(ask: Asker) -> None:
    assert allowed(ask(*SETS, own("source: {namespaceSelector: all()}"))) == {
        "x/b",
        "y/b",
        "9.9.9.9",
        "7.7.7.7",
    }
    assert allowed(ask(*SETS, own("source: {namespaceSelector: tenant == 'blue', selector: has(pod)}"))) == {
        "y/b"
    }
    assert allowed(ask(*SETS, own("source: {namespaceSelector: global()}"))) == {"8.8.8.8"}
    assert allowed(ask(*SETS, own("source: {namespaceSelector: ' global( ) '}"))) == {"8.8.8.8"}
    assert (
        allowed(ask(*SETS, own("source: {namespaceSelector: global(), notSelector: role == 'dns'}"))) == set()
    )


def test_a_network_set_has_the_labels_of_its_namespace(ask: Asker) -> None:
    assert allowed(ask(*SETS, rule("source: {namespaceSelector: tenant == 'blue'}"))) == {"y/b", "7.7.7.7"}
    assert allowed(ask(*SETS, rule("source: {namespaceSelector: tenant != 'blue'}"))) == {"x/b", "9.9.9.9"}
    assert allowed(ask(*SETS, rule("source: {selector: \"role == 'dns' && pcns.tenant == 'blue'\"}"))) == {
        "7.7.7.7"
    }


def test_a_negative_namespace_selector_stays_inside_namespaces(ask: Asker) -> None:
    assert allowed(ask(*SETS, rule("source: {namespaceSelector: '!has(tenant)'}"))) == {"x/b", "9.9.9.9"}


def test_service_accounts_go_by_name_and_by_label_and_both_must_hold(ask: Asker) -> None:
    pods = ("x/b", "y/a", "y/b", "8.8.8.8")
    assert allowed(ask(rule("source: {serviceAccounts: {names: [robot, other]}}")), *pods) == {"y/a"}
    assert allowed(ask(rule("source: {serviceAccounts: {names: [robot], selector: has(kind)}}")), *pods) == {
        "y/a"
    }
    assert (
        allowed(ask(rule("source: {serviceAccounts: {names: [robot], selector: '!has(kind)'}}")), *pods)
        == set()
    )
    assert allowed(ask(GLOBAL_SET, rule("source: {serviceAccounts: {selector: '!has(kind)'}}")), *pods) == {
        "x/b",
        "y/b",
    }
    assert allowed(ask(GLOBAL_SET, rule("source: {serviceAccounts: {selector: all()}}")), *pods) == {
        "x/b",
        "y/a",
        "y/b",
    }


def test_what_pods_claim_of_namespaces_and_accounts_in_their_own_labels_does_not_count(ask: Asker) -> None:
    liar = "{apiVersion: v1, kind: Pod, metadata: {name: liar, namespace: x, labels: {pcns.tenant: blue, pcsa.kind: machine, projectcalico.org/namespace: y}}, spec: {nodeName: n1}, status: {podIP: 10.0.0.66}}"
    for text in (
        "namespaceSelector: tenant == 'blue'",
        "selector: pcns.tenant == 'blue'",
        "selector: pcsa.kind == 'machine'",
        "selector: projectcalico.org/namespace == 'y'",
    ):
        assert allowed(ask(liar, rule(f"source: {{{text}}}")), "x/liar", "y/a") == {"y/a"}


@pytest.mark.parametrize("field", ["nets", "notNets"])
def test_prefixes_of_the_other_family_alone_make_no_rule_of_this_one(ask: Asker, field: str) -> None:
    said = ask(rule(f"source: {{{field}: [fd00::/64]}}"))
    assert [said(peer, "x/a") for peer in ("x/b", "8.8.8.8")] == ["Deny", "Deny"]
    assert [said(peer, "fd00::1") for peer in ("fd00::2", "fd01::2")] == (
        ["Allow", "Deny"] if field == "nets" else ["Deny", "Allow"]
    )
    said = ask(rule(f"source: {{{field}: [10.0.0.0/8]}}"))
    assert said("fd00::2", "fd00::1") == "Deny"


def test_an_ip_version_is_of_that_family_alone(ask: Asker) -> None:
    assert [ask(rule(f"ipVersion: {n}"))("x/b", "x/a") for n in (4, 6)] == ["Allow", "Deny"]
    assert [ask(rule(f"ipVersion: {n}"))("fd00::2", "fd00::1") for n in (4, 6)] == ["Deny", "Allow"]


def test_ports_are_numbers_ranges_or_names_and_one_is_enough(ask: Asker) -> None:
    said = ask(rule("protocol: TCP, destination: {ports: [http, 8080, '90:92', '99']}"))
    found = [port for port in (79, 80, 89, 90, 92, 93, 99, 8080) if said("x/b", "x/a", port) == "Allow"]
    assert found == [80, 90, 92, 99, 8080]


def test_a_named_port_is_of_the_end_that_has_it_with_its_protocol(ask: Asker) -> None:
    said = ask(out("protocol: UDP, destination: {ports: [dns]}"))
    assert [said("x/a", to, 53, "UDP") for to in ("y/b", "8.8.8.8")] == ["Allow", "Deny"]
    assert ask(out("protocol: TCP, destination: {ports: [dns]}"))("x/a", "y/b", 53) == "Deny"
    said = ask(
        out("protocol: TCP, destination: {selector: projectcalico.org/namespace == 'x', ports: [http]}")
    )
    assert [said("x/a", to) for to in ("x/b", "y/b")] == ["Allow", "Deny"]


def test_a_named_port_needs_no_protocol(ask: Asker) -> None:
    said = ask(rule("destination: {ports: [http]}"))
    assert [said("x/b", "x/a", port) for port in (80, 81)] == ["Allow", "Deny"]
    assert said("x/b", "x/a", 80, "UDP") == "Deny"


def test_a_named_port_without_a_protocol_is_of_tcp(ask: Asker) -> None:
    assert ask(rule("destination: {ports: [dns]}"))("x/b", "x/a", 53, "UDP") == "Deny"
    assert ask(rule("protocol: UDP, destination: {ports: [dns]}"))("x/b", "x/a", 53, "UDP") == "Allow"


def test_ports_of_the_source_are_asked_too(ask: Asker) -> None:
    said = ask(rule("protocol: TCP, source: {ports: ['1000:2000']}"))
    assert [said("x/b", "x/a", sourcePort=port) for port in (999, 1500)] == ["Deny", "Allow"]
    assert ask(rule("protocol: TCP, source: {ports: [http]}"))("x/b", "x/a", 9, sourcePort=80) == "Allow"


def test_protocols_go_by_name_and_number_and_unwanted_ones_are_all_but_that(ask: Asker) -> None:
    for text in ("protocol: SCTP", "protocol: 132", "protocol: '132'"):
        said = ask(rule(text))
        assert [said("x/b", "x/a", 80, name) for name in ("SCTP", "TCP")] == ["Allow", "Deny"]
    said = ask(rule("notProtocol: TCP"))
    assert [said("x/b", "x/a", 80, name) for name in ("TCP", "UDP", "ICMP", 47)] == [
        "Deny",
        "Allow",
        "Allow",
        "Allow",
    ]


def test_icmp_of_no_type_is_every_icmp_and_a_code_narrows_its_type(ask: Asker) -> None:
    def found(text: str) -> list[str]:
        said = ask(rule(text))
        asked = [(8, 0), (3, 0), (3, 4)]
        return [said("x/b", "x/a", None, "ICMP", icmp={"type": t, "code": c}) for t, c in asked]

    assert found("protocol: ICMP, icmp: {}") == ["Allow", "Allow", "Allow"]
    assert found("protocol: ICMP, icmp: {type: 3}") == ["Deny", "Allow", "Allow"]
    assert found("protocol: ICMP, icmp: {type: 3, code: 4}") == ["Deny", "Deny", "Allow"]
    assert found("protocol: ICMP, notICMP: {type: 3, code: 4}") == ["Allow", "Allow", "Deny"]
    assert ask(rule("protocol: ICMP, icmp: {type: 8}"))("x/b", "x/a", 80) == "Deny"


def test_icmp_v6_is_a_protocol_of_its_own(ask: Asker) -> None:
    said = ask(rule("protocol: ICMPv6, icmp: {type: 128}"))
    assert said("fd00::2", "fd00::1", None, 58) == "Allow"
    assert said("10.0.0.2", "10.0.0.1", None, "ICMP") == "Deny"


SLICE = """
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s-1, namespace: y, labels: {kubernetes.io/service-name: s}}, endpoints: [
  {addresses: [10.0.1.1], conditions: {ready: true}}, {addresses: [10.0.1.2], conditions: {ready: false}}, {addresses: [8.8.8.8]}], ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}]}
"""


def test_a_service_as_destination_is_its_ready_addresses_with_their_ports(ask: Asker) -> None:
    said = ask(SLICE, out("destination: {services: {name: s, namespace: y}}"))
    assert [said("x/a", to) for to in ("y/a", "y/b", "8.8.8.8", "x/b")] == ["Allow", "Deny", "Allow", "Deny"]
    assert [said("x/a", "y/a", *asked) for asked in ((81, "TCP"), (53, "UDP"), (53, "TCP"))] == [
        "Deny",
        "Allow",
        "Deny",
    ]


def test_a_service_as_source_is_its_addresses_whatever_the_port(ask: Asker) -> None:
    said = ask(SLICE, rule("source: {services: {name: s, namespace: y}}"))
    assert allowed(said, "y/a", "y/b", "8.8.8.8", "x/b") == {"y/a", "8.8.8.8"}
    assert said("y/a", "x/a", 7777, "UDP") == "Allow"
    said = ask(
        SLICE, rule("protocol: TCP, source: {services: {name: s, namespace: y}}, destination: {ports: [80]}")
    )
    assert [said("y/a", "x/a", port) for port in (80, 81)] == ["Allow", "Deny"]


def test_a_service_without_namespace_is_of_the_policys_own(ask: Asker) -> None:
    policy = doc(
        "NetworkPolicy",
        "{selector: pod == 'b', egress: [{action: Allow, destination: {services: {name: s}}}]}",
        "name: p, namespace: y",
    )
    said = ask(SLICE, policy)
    assert [said("y/b", to) for to in ("y/a", "x/a")] == ["Allow", "Deny"]


def test_a_service_that_is_not_there_has_no_addresses(ask: Asker) -> None:
    assert ask(SLICE, out("destination: {services: {name: t, namespace: y}}"))("x/a", "y/a") == "Deny"


def test_what_is_not_enforced_yet_allows_nothing_and_denies_by_all_the_rest(ask: Asker) -> None:
    web = "protocol: TCP, http: {methods: [GET], paths: [{prefix: /}]}"
    assert ask(rule(web))("x/b", "x/a") == "Deny"
    assert ask(out("destination: {domains: ['*.example.org']}"))("x/a", "8.8.8.8") == "Deny"
    denying = doc(
        "GlobalNetworkPolicy",
        "{selector: pod == 'a', egress: [{action: Deny, destination: {domains: [a.example.org]}}, {action: Allow}]}",
    )
    assert ask(denying)("x/a", "8.8.8.8") == "Deny"


def test_notes_on_a_rule_mean_nothing(ask: Asker) -> None:
    assert ask(rule("metadata: {annotations: {why: because}}"))("x/b", "x/a") == "Allow"


def test_prefixes_match_pods_as_well_as_strangers(ask: Asker) -> None:
    assert allowed(ask(rule("source: {nets: [10.0.0.2/32, 8.0.0.0/8]}"))) == {"x/b", "8.8.8.8"}
