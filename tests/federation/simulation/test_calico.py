"""Calico's documents as they stand: hosts, profiles, inherited labels, services, network sets. One sentence each."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def calico(kind: str, spec: str, meta: str = "name: p") -> str:
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{{meta}}}, spec: {spec}}}"


def gnp(spec: str, name: str = "p") -> str:
    return calico("GlobalNetworkPolicy", spec, f"name: {name}")


def np(spec: str, namespace: str = "x") -> str:
    return calico("NetworkPolicy", spec, f"name: p, namespace: {namespace}")


HEP = calico(
    "HostEndpoint",
    "{node: n1, interfaceName: '*', expectedIPs: [192.168.0.1]}",
    "name: h, labels: {role: host}",
)
HOST_HTTP = gnp(
    "{selector: role == 'host', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}"
)


def test_what_a_server_adds_to_metadata_is_no_fault(ask: Asker) -> None:
    text = calico(
        "GlobalNetworkPolicy",
        "{selector: all(), ingress: []}",
        "name: p, uid: u, resourceVersion: '9', creationTimestamp: null, managedFields: []",
    )
    assert ask(text)("x/b", "x/a") == "Deny"


def test_labels_of_namespaces_and_service_accounts_are_selectable(ask: Asker) -> None:
    said = ask(
        gnp(
            "{namespaceSelector: ns == 'x', ingress: [{action: Allow, source: {namespaceSelector: tenant == 'blue'}}]}"
        )
    )
    assert [said(p, "x/a") for p in ("y/a", "x/b", "8.8.8.8")] == ["Allow", "Deny", "Deny"]
    said = ask(
        gnp(
            "{selector: pod == 'b', ingress: [{action: Allow, source: {serviceAccounts: {selector: kind == 'machine'}}}]}"
        )
    )
    assert [said(p, "x/b") for p in ("y/a", "y/b")] == ["Allow", "Deny"]
    said = ask(gnp("{serviceAccountSelector: kind == 'machine', ingress: []}"))
    assert [said("x/a", p) for p in ("y/a", "y/b")] == ["Deny", "Allow"]


def test_service_accounts_by_name_and_label_must_both_hold(ask: Asker) -> None:
    said = ask(
        gnp(
            "{selector: pod == 'b', ingress: [{action: Allow, source: {serviceAccounts: {names: [default], selector: kind == 'machine'}}}]}"
        )
    )
    assert [said(p, "x/b") for p in ("y/a", "y/b")] == ["Deny", "Deny"]


def test_a_namespaced_rule_with_any_selector_stays_in_its_namespace(ask: Asker) -> None:
    said = ask(np("{ingress: [{action: Allow, source: {notSelector: pod == 'zz'}}]}"))
    assert [said(p, "x/a") for p in ("x/b", "y/a", "8.8.8.8")] == ["Allow", "Deny", "Deny"]
    said = ask(np("{ingress: [{action: Allow, source: {nets: [10.0.1.0/24]}}]}"))
    assert [said(p, "x/a") for p in ("x/b", "y/a")] == ["Deny", "Allow"]


def test_a_negation_in_a_selector_and_a_not_selector_differ_outside(ask: Asker) -> None:
    said = ask(gnp("{selector: pod == 'a', ingress: [{action: Allow, source: {selector: '!has(zz)'}}]}"))
    assert [said(p, "x/a") for p in ("y/b", "8.8.8.8")] == ["Allow", "Deny"]
    said = ask(gnp("{selector: pod == 'a', ingress: [{action: Allow, source: {notSelector: has(zz)}}]}"))
    assert [said(p, "x/a") for p in ("y/b", "8.8.8.8")] == ["Allow", "Allow"]


def test_network_sets_global_and_of_a_namespace(ask: Asker) -> None:
    world_wide = calico("GlobalNetworkSet", "{nets: [8.0.0.0/8]}", "name: s, labels: {role: dns}")
    own = calico("NetworkSet", "{nets: [9.0.0.0/8]}", "name: s, namespace: x, labels: {role: dns}")
    said = ask(
        world_wide,
        own,
        gnp("{selector: pod == 'a', egress: [{action: Allow, destination: {selector: role == 'dns'}}]}"),
    )
    assert [said("x/a", to) for to in ("8.8.8.8", "9.9.9.9", "7.7.7.7")] == ["Allow", "Allow", "Deny"]
    said = ask(world_wide, own, np("{egress: [{action: Allow, destination: {selector: role == 'dns'}}]}"))
    assert [said("x/a", to) for to in ("8.8.8.8", "9.9.9.9")] == ["Deny", "Allow"]
    said = ask(
        world_wide,
        own,
        np(
            "{egress: [{action: Allow, destination: {selector: role == 'dns', namespaceSelector: global()}}]}"
        ),
    )
    assert [said("x/a", to) for to in ("8.8.8.8", "9.9.9.9")] == ["Allow", "Deny"]


def test_services_as_destinations_have_their_ports_and_as_sources_their_addresses(ask: Asker) -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: y}, spec: {selector: {pod: a}, ports: [{port: 8080, targetPort: http}]}}"
    said = ask(service, np("{egress: [{action: Allow, destination: {services: {name: s, namespace: y}}}]}"))
    assert [said("x/a", "y/a", port) for port in (80, 81)] == ["Allow", "Deny"]
    assert said("x/a", "y/b") == "Deny"
    said = ask(service, np("{ingress: [{action: Allow, source: {services: {name: s, namespace: y}}}]}"))
    assert [said(p, "x/a", 9999) for p in ("y/a", "y/b")] == ["Allow", "Deny"]


def test_a_host_endpoint_is_closed_but_for_failsafe_ports(ask: Asker) -> None:
    said = ask(HEP)
    assert [said("8.8.8.8", "host:n1", port) for port in (22, 80)] == ["Allow", "Deny"]
    assert [said("host:n1", "8.8.8.8", *p) for p in ((53, "UDP"), (80, "TCP"))] == ["Allow", "Deny"]
    assert said("8.8.8.8", "host:n2") == "Allow"


def test_a_host_endpoint_gets_what_policy_and_profile_say(ask: Asker) -> None:
    said = ask(HEP, HOST_HTTP)
    assert [said("8.8.8.8", "host:n1", port) for port in (80, 81)] == ["Allow", "Deny"]
    open_hep = HEP.replace("expectedIPs", "profiles: [projectcalico-default-allow], expectedIPs")
    assert ask(open_hep)("8.8.8.8", "host:n1") == "Allow"
    assert ask(open_hep, HOST_HTTP)("8.8.8.8", "host:n1", 81) == "Deny"


def test_an_innocent_global_policy_selects_hosts_unless_it_names_namespaces(ask: Asker) -> None:
    open_hep = HEP.replace("expectedIPs", "profiles: [projectcalico-default-allow], expectedIPs")
    assert ask(open_hep, gnp("{selector: all(), ingress: []}"))("8.8.8.8", "host:n1") == "Deny"
    assert ask(open_hep, gnp("{namespaceSelector: all(), ingress: []}"))("8.8.8.8", "host:n1") == "Allow"


def test_stages_of_hosts_come_in_their_order(ask: Asker) -> None:
    early = gnp(
        "{selector: role == 'host', applyOnForward: true, doNotTrack: true, ingress: [{action: Deny, source: {nets: [8.0.0.0/8]}}]}",
        "u",
    )
    before = gnp(
        "{selector: role == 'host', applyOnForward: true, preDNAT: true, ingress: [{action: Allow, source: {nets: [9.0.0.0/8]}}]}",
        "d",
    )
    said = ask(HEP, HOST_HTTP, early, before)
    assert [said(p, "host:n1") for p in ("8.8.8.8", "9.9.9.9", "7.7.7.7")] == ["Deny", "Allow", "Allow"]
    assert said("9.9.9.9", "host:n1", 81) == "Allow"
    assert said("7.7.7.7", "host:n1", 81) == "Deny"


def test_a_namespaces_profile_comes_after_all_tiers(ask: Asker) -> None:
    profile = "{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: kns.x}, spec: {ingress: [{action: Allow, source: {selector: pod == 'b'}}], egress: [{action: Allow}]}}"
    said = ask(profile)
    assert [said(p, "x/a") for p in ("x/b", "y/a")] == ["Allow", "Deny"]
    passing = calico("Tier", "{order: 1, defaultAction: Pass}", "name: t")
    said = ask(
        profile,
        passing,
        gnp("{tier: t, selector: all(), ingress: [{action: Allow, source: {selector: pod == 'a'}}]}"),
    )
    assert [said(p, "x/a") for p in ("y/a", "y/b", "x/b")] == ["Allow", "Allow", "Allow"]


def test_http_rules_allow_nothing_while_they_are_not_enforced(ask: Asker) -> None:
    said = ask(
        gnp("{selector: pod == 'a', ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]}")
    )
    assert said("x/b", "x/a") == "Deny"


def test_icmp_and_protocol_numbers(ask: Asker) -> None:
    said = ask(
        gnp(
            "{selector: pod == 'a', ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Allow, protocol: 47}]}"
        )
    )
    assert [said("x/b", "x/a", None, "ICMP", icmp={"type": t, "code": 0}) for t in (8, 3)] == [
        "Allow",
        "Deny",
    ]
    assert [said("x/b", "x/a", None, p) for p in (47, 50)] == ["Allow", "Deny"]
    assert said("fd00::2", "x/a", None, "ICMP") == "Deny"


def test_staged_policies_are_kept_and_never_judge(ask: Asker) -> None:
    assert ask(calico("StagedGlobalNetworkPolicy", "{selector: all(), ingress: []}"))("x/b", "x/a") == "Allow"


def test_policies_of_a_cluster_mean_that_cluster(ask: Asker) -> None:
    text = calico(
        "NetworkPolicy", "{ingress: []}", "name: p, namespace: x, labels: {causeway.dev/cluster: elsewhere}"
    )
    assert ask(text)("y/a", "x/a") == "Allow"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (gnp("{selector: 'a ==', ingress: []}"), "/spec/selector"),
        (gnp("{selector: all(), doNotTrack: true}"), "/spec/applyOnForward"),
        (gnp("{selector: all(), doNotTrack: true, preDNAT: true, applyOnForward: true}"), "/spec/preDNAT"),
        (np("{applyOnForward: true}"), "/spec"),
        (gnp("{ingress: [{action: Allow, source: {serviceAccounts: {}}}]}"), "/spec/ingress/0/source/serviceAccounts"),
        (gnp("{ingress: [{action: Deny, http: {methods: [GET]}}]}"), "/spec/ingress/0/http"),
        (gnp("{ingress: [{action: Allow, ipVersion: 6, protocol: ICMP}]}"), "/spec/ingress/0/protocol"),
        (gnp("{ingress: [{action: Allow, source: {services: {name: a, namespace: b}, selector: all()}}]}"), "/spec/ingress/0/source/services"),
        (gnp("{ingress: [{action: Allow, source: {notNets: [0.0.0.0/0]}}]}"), "/spec/ingress/0/source/notNets/0"),
        (gnp("{colour: red}"), "/spec/colour"),
        (calico("HostEndpoint", "{node: n}"), "/spec"),
        (calico("GlobalNetworkPolity", "{}"), "/kind"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_pointer(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert [f.pointer.split(": ")[-1] for f in caught.value.faults] == [pointer]


def test_the_1025th_rule_is_one_too_many(ask: Asker) -> None:
    rules = ", ".join(["{action: Allow}"] * 1025)
    with pytest.raises(InvalidInput, match="1 fault"):
        ask(gnp(f"{{ingress: [{rules}]}}"))


AOF = "selector: role == 'host', applyOnForward: true"
OTHER_HEP = calico(
    "HostEndpoint",
    "{node: n2, interfaceName: '*', expectedIPs: [192.168.0.2]}",
    "name: h2, labels: {role: other}",
)


def test_what_passes_through_a_host_meets_only_policies_that_apply_on_forward(ask: Asker) -> None:
    assert ask(HEP)("8.8.8.8", "x/a") == "Allow"
    assert ask(HEP, HOST_HTTP)("8.8.8.8", "x/a", 81) == "Allow"
    web = gnp(f"{{{AOF}, ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [80]}}}}]}}")
    said = ask(HEP, OTHER_HEP, web)
    assert [said("8.8.8.8", "x/a", port) for port in (80, 81, 22)] == ["Allow", "Deny", "Deny"]
    assert [said("x/b", "x/a", port) for port in (80, 81)] == ["Allow", "Deny"]  # from node to node
    assert said("y/a", "x/a", 81) == "Allow"  # on one node nothing passes through it
    assert said("8.8.8.8", "x/b", 81) == "Allow"  # another host endpoint
    assert said("x/a", "8.8.8.8", 81) == "Allow"  # the other direction
    assert [said("8.8.8.8", "host:n1", port) for port in (80, 81, 22)] == ["Allow", "Deny", "Allow"]


def test_early_stages_on_forward_let_failsafe_ports_pass(ask: Asker) -> None:
    early = gnp(f"{{{AOF}, doNotTrack: true, ingress: [{{action: Deny}}]}}")
    assert [ask(HEP, early)("8.8.8.8", "x/a", port) for port in (80, 22)] == ["Deny", "Allow"]
    before = gnp(f"{{{AOF}, preDNAT: true, ingress: [{{action: Deny, source: {{nets: [8.0.0.0/8]}}}}]}}")
    assert [ask(HEP, before)(peer, "x/a") for peer in ("8.8.8.8", "9.9.9.9")] == ["Deny", "Allow"]


def test_names_among_unwanted_ports_are_of_the_end_that_has_them(ask: Asker) -> None:
    said = ask(
        gnp(
            "{selector: pod == 'a', egress: [{action: Allow, protocol: TCP, destination: {notPorts: [http]}}]}"
        )
    )
    assert [said("x/a", "x/b", port) for port in (80, 81)] == ["Deny", "Allow"]
    assert [said("x/a", "8.8.8.8", port) for port in (80, 81)] == ["Allow", "Allow"]


def test_icmp_and_not_icmp_in_one_rule_must_both_hold(ask: Asker) -> None:
    said = ask(
        gnp(
            "{selector: pod == 'a', ingress: [{action: Allow, protocol: ICMP, icmp: {type: 3}, notICMP: {type: 3, code: 4}}]}"
        )
    )
    asked = [(3, 0), (3, 4), (8, 0)]
    assert [said("x/b", "x/a", None, "ICMP", icmp={"type": t, "code": c}) for t, c in asked] == [
        "Allow", "Deny", "Deny",
    ]  # fmt: skip
