"""Calico's host endpoints and profiles: which policies they meet, in which order, and what is left. One sentence each."""

from collections.abc import Callable
from typing import Any

import pytest

from federation.simulation.probes import Judge

Ask = Callable[..., str]
Asker = Callable[..., Ask]
Judges = Callable[..., Judge]


def doc(kind: str, spec: str, name: str = "p", meta: str = "") -> str:
    return (
        f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{meta}}}, spec: {spec}}}"
    )


def hep(
    more: str = "", name: str = "h", role: str = "host", interface: str = "'*'", ips: str = "[192.168.0.1]"
) -> str:
    spec = f"{{node: n1, interfaceName: {interface}, expectedIPs: {ips}{more}}}"
    return doc("HostEndpoint", spec, name, f", labels: {{role: {role}}}")


def gnp(spec: str, name: str = "p", role: str = "host") -> str:
    return doc("GlobalNetworkPolicy", f"{{selector: role == '{role}', {spec}}}", name)


OPEN = ", profiles: [projectcalico-default-allow]"
WEB = "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]"
SAFE_BOTH = [(port, "TCP") for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)]
SAFE_IN, SAFE_OUT = [(22, "TCP"), (68, "UDP"), *SAFE_BOTH], [(53, "UDP"), (67, "UDP"), *SAFE_BOTH]


def test_failsafe_ports_pass_whatever_policy_says_and_they_differ_by_direction(ask: Asker) -> None:
    said = ask(hep(), gnp("ingress: [{action: Deny}], egress: [{action: Deny}]"))
    ports = sorted({*SAFE_IN, *SAFE_OUT, (80, "TCP"), (53, "TCP"), (22, "UDP")})
    assert [p for p in ports if said("8.8.8.8", "host:n1", *p) == "Allow"] == sorted(SAFE_IN)
    assert [p for p in ports if said("host:n1", "8.8.8.8", *p) == "Allow"] == sorted(SAFE_OUT)


def test_failsafe_ports_are_of_hosts_alone(ask: Asker) -> None:
    policy = doc("GlobalNetworkPolicy", "{selector: pod == 'a', ingress: []}")
    assert ask(policy)("8.8.8.8", "x/a", 22) == "Deny"


@pytest.mark.parametrize(("interface", "ips"), [("'*'", "[192.168.0.1]"), ("eth0", "[192.168.0.1]"), ("''", "[192.168.0.1]"), ("eth0", "[]"), ("'*'", "[]")])  # fmt: skip
def test_a_host_endpoint_governs_its_host_by_every_way_of_naming_the_interface(
    ask: Asker, interface: str, ips: str
) -> None:
    said = ask(hep(interface=interface, ips=ips), gnp(WEB))
    assert [said("8.8.8.8", "host:n1", port) for port in (80, 81)] == ["Allow", "Deny"]
    assert [said("8.8.8.8", "192.168.0.1", port) for port in (80, 81)] == ["Allow", "Deny"]


TWO = (
    hep(name="all", role="host", ips="[192.168.0.1]"), hep(OPEN, name="eth1", role="lan", interface="eth1", ips="[172.16.0.1]"),
)  # fmt: skip


def test_each_interface_has_its_own_host_endpoint_and_the_star_the_rest(ask: Asker) -> None:
    said = ask(*TWO, gnp("ingress: []"))
    assert [said("8.8.8.8", to) for to in ("host:n1", "192.168.0.1", "172.16.0.1")] == [
        "Deny",
        "Deny",
        "Allow",
    ]
    said = ask(*TWO, gnp(WEB), gnp("ingress: []", "q", "lan"))
    assert [said("8.8.8.8", to) for to in ("host:n1", "192.168.0.1", "172.16.0.1")] == [
        "Allow",
        "Allow",
        "Deny",
    ]


def test_an_interfaces_own_host_endpoint_comes_before_the_star(ask: Asker) -> None:
    said = ask(hep(name="all"), hep(OPEN, name="z", role="lan", interface="eth0"))
    assert said("8.8.8.8", "host:n1") == "Allow"


def test_a_host_endpoint_is_a_peer_at_the_addresses_that_it_expects(ask: Asker) -> None:
    policy = doc(
        "GlobalNetworkPolicy",
        "{selector: pod == 'b', ingress: [{action: Allow, source: {selector: role == 'host'}}]}",
    )
    assert ask(hep(OPEN), policy)("host:n1", "x/b") == "Allow"
    assert ask(hep(OPEN, ips="[]"), policy)("host:n1", "x/b") == "Deny"
    refusing = doc(
        "GlobalNetworkPolicy",
        "{selector: pod == 'b', ingress: [{action: Allow, source: {notSelector: role == 'host'}}]}",
    )
    assert ask(hep(OPEN), refusing)("host:n1", "x/b") == "Deny"
    assert ask(hep(OPEN, ips="[]"), refusing)("host:n1", "x/b") == "Allow"


def test_global_in_a_namespaced_rule_means_host_endpoints_and_global_sets(ask: Asker) -> None:
    source = "source: {namespaceSelector: global(), selector: role == 'host'}"
    policy = doc("NetworkPolicy", f"{{ingress: [{{action: Allow, {source}}}]}}", meta=", namespace: x")
    said = ask(hep(OPEN), policy)
    assert [said(peer, "x/b") for peer in ("host:n1", "x/a")] == ["Allow", "Deny"]


def test_a_namespaced_policy_and_one_with_namespace_or_account_selector_select_no_host(ask: Asker) -> None:
    for policy in (
        doc("NetworkPolicy", "{ingress: []}", meta=", namespace: x"),
        doc("GlobalNetworkPolicy", "{namespaceSelector: '!has(zz)', ingress: []}"),
        doc("GlobalNetworkPolicy", "{serviceAccountSelector: '!has(zz)', ingress: []}"),
        doc("GlobalNetworkPolicy", "{selector: has(projectcalico.org/namespace), ingress: []}"),
    ):
        assert ask(hep(OPEN), policy)("8.8.8.8", "host:n1") == "Allow"
    assert ask(hep(OPEN), doc("GlobalNetworkPolicy", "{ingress: []}"))("8.8.8.8", "host:n1") == "Deny"


def test_named_ports_of_a_host_are_its_host_endpoints(ask: Asker) -> None:
    ports = ", ports: [{name: web, protocol: TCP, port: 8443}, {name: web, protocol: UDP, port: 8444}]"
    said = ask(hep(ports), gnp("ingress: [{action: Allow, protocol: TCP, destination: {ports: [web]}}]"))
    assert [said("8.8.8.8", "host:n1", port) for port in (8443, 8444, 80)] == ["Allow", "Deny", "Deny"]
    assert said("8.8.8.8", "host:n1", "web") == "Allow"


STAGES = "applyOnForward: true"


def test_an_untracked_policy_has_no_end_that_denies_and_asks_no_profile(judge_of: Judges, ask: Asker) -> None:
    untracked = gnp(
        f"doNotTrack: true, {STAGES}, ingress: [{{action: Allow, source: {{nets: [9.0.0.0/8]}}}}]", "u"
    )
    assert ask(hep(OPEN), untracked)("8.8.8.8", "host:n1") == "Allow"
    said = ask(hep(), untracked, gnp(WEB))
    assert [said("8.8.8.8", "host:n1", port) for port in (80, 81)] == ["Allow", "Deny"]
    denied = doc("Profile", "{ingress: [{action: Deny}]}", "closed")
    assert ask(hep(", profiles: [closed]"), denied, untracked)("9.9.9.9", "host:n1") == "Allow"


def test_an_untracked_allow_says_nothing_of_the_way_back(ask: Asker) -> None:
    there = gnp(
        f"doNotTrack: true, {STAGES}, ingress: [{{action: Allow, protocol: UDP, destination: {{ports: [5000]}}}}]",
        "u",
    )
    back = gnp(
        f"doNotTrack: true, {STAGES}, egress: [{{action: Allow, protocol: UDP, source: {{ports: [5000]}}}}]",
        "v",
    )
    assert ask(hep(), there)("8.8.8.8", "host:n1", 5000, "UDP") == "Allow"
    assert ask(hep(), there)("host:n1", "8.8.8.8", 40000, "UDP", sourcePort=5000) == "Deny"
    assert ask(hep(), there, back)("host:n1", "8.8.8.8", 40000, "UDP", sourcePort=5000) == "Allow"


def test_what_a_pre_dnat_policy_does_not_match_goes_on_to_the_normal_ones(ask: Asker) -> None:
    early = gnp(
        f"preDNAT: true, {STAGES}, ingress: [{{action: Deny, source: {{nets: [8.0.0.0/8]}}}}, {{action: Pass, source: {{nets: [7.0.0.0/8]}}}}]",
        "d",
    )
    said = ask(hep(), early, gnp(WEB))
    assert [said(peer, "host:n1") for peer in ("8.8.8.8", "9.9.9.9", "7.7.7.7")] == ["Deny", "Allow", "Allow"]
    assert said("9.9.9.9", "host:n1", 81) == "Deny"


def test_stages_go_by_their_kind_not_by_order(judge_of: Judges) -> None:
    documents = (
        gnp("order: 1, ingress: [{action: Allow}]", "normal"),
        gnp(f"order: 2, preDNAT: true, {STAGES}, ingress: [{{action: Allow}}]", "early"),
        gnp(f"order: 3, doNotTrack: true, {STAGES}, ingress: [{{action: Allow}}]", "first"),
    )
    found = [ingress_of(judge_of(hep(), *documents[:n]))["policy"]["name"] for n in (1, 2, 3)]
    assert found == ["normal", "early", "first"]


def ingress_of(judge: Judge, to: str = "host:n1") -> dict[str, Any]:
    found = judge.answer({"from": "8.8.8.8", "to": to, "port": 80})["ingress"]
    assert isinstance(found, dict)
    return found


def test_untracked_and_pre_dnat_policies_are_of_hosts_even_if_their_selector_takes_pods(ask: Asker) -> None:
    for stage in ("doNotTrack", "preDNAT"):
        policy = doc(
            "GlobalNetworkPolicy",
            f"{{selector: all(), {stage}: true, {STAGES}, ingress: [{{action: Deny}}]}}",
        )
        said = ask(hep(), policy)
        assert said("y/a", "x/a") == "Allow"  # on one node, through no host endpoint


def test_a_normal_host_policy_is_for_what_ends_or_begins_at_the_host(ask: Asker) -> None:
    closed = gnp("ingress: [{action: Deny}], egress: [{action: Deny}]")
    said = ask(hep(), closed)
    assert [said("8.8.8.8", "host:n1"), said("host:n1", "8.8.8.8")] == ["Deny", "Deny"]
    assert [said("8.8.8.8", "x/a"), said("x/a", "8.8.8.8"), said("x/a", "x/b")] == ["Allow", "Allow", "Allow"]


def test_forwarded_traffic_is_denied_by_default_once_a_policy_applies_to_it_in_that_direction(
    ask: Asker,
) -> None:
    said = ask(hep(), gnp(f"{STAGES}, ingress: [{{action: Allow, source: {{nets: [9.0.0.0/8]}}}}]"))
    assert [said(peer, "x/a") for peer in ("9.9.9.9", "8.8.8.8")] == ["Allow", "Deny"]
    assert said("x/a", "8.8.8.8") == "Allow"


def test_what_a_host_sends_to_its_own_workload_passes(ask: Asker) -> None:
    closed = doc("GlobalNetworkPolicy", "{selector: has(pod), ingress: []}")
    assert [ask(closed)(f"host:{node}", "x/a") for node in ("n1", "n2")] == ["Allow", "Deny"]


def test_what_a_workload_sends_to_its_own_host_meets_the_host_endpoint(ask: Asker) -> None:
    said = ask(hep(), gnp(WEB))
    assert [said("x/a", "host:n1", port) for port in (80, 81)] == ["Allow", "Deny"]


def profile(spec: str, name: str = "mine") -> str:
    return doc("Profile", spec, name)


def test_profiles_are_asked_in_their_order_after_every_tier_and_the_first_match_wins(ask: Asker) -> None:
    one = profile("{ingress: [{action: Deny, source: {nets: [8.0.0.0/8]}}]}", "one")
    two = profile("{ingress: [{action: Allow}]}", "two")
    assert [
        ask(hep(", profiles: [one, two]"), one, two)(peer, "host:n1") for peer in ("8.8.8.8", "9.9.9.9")
    ] == ["Deny", "Allow"]
    assert ask(hep(", profiles: [two, one]"), one, two)("8.8.8.8", "host:n1") == "Allow"
    assert ask(hep(", profiles: [two]"), two, gnp(WEB))("8.8.8.8", "host:n1", 81) == "Deny"


def test_pass_inside_a_profile_denies_and_log_goes_on(ask: Asker) -> None:
    more = ", profiles: [mine, projectcalico-default-allow]"
    assert ask(hep(more), profile("{ingress: [{action: Pass}]}"))("8.8.8.8", "host:n1") == "Deny"
    assert ask(hep(more), profile("{ingress: [{action: Log}]}"))("8.8.8.8", "host:n1") == "Allow"


def test_a_profile_that_is_missing_denies_everything_and_so_does_having_none(ask: Asker) -> None:
    assert ask(hep(", profiles: [gone, projectcalico-default-allow]"))("8.8.8.8", "host:n1") == "Deny"
    assert ask(hep())("8.8.8.8", "host:n1") == "Deny"
    assert ask(hep(", profiles: [mine]"), profile("{}"))("8.8.8.8", "host:n1") == "Deny"


def test_a_profile_of_a_service_account_comes_after_the_one_of_the_namespace(ask: Asker) -> None:
    namespace = profile(
        "{ingress: [{action: Deny, source: {nets: [8.0.0.0/8]}}], egress: [{action: Allow}]}", "kns.y"
    )
    account = profile("{ingress: [{action: Allow}], egress: [{action: Allow}]}", "ksa.y.robot")
    said = ask(namespace, account)
    assert [said(peer, "y/a") for peer in ("8.8.8.8", "9.9.9.9")] == ["Deny", "Allow"]
    assert said("9.9.9.9", "y/b") == "Deny"


def test_labels_of_profiles_are_inherited_by_hosts_and_workloads_that_belong_to_them(ask: Asker) -> None:
    labelled = profile("{ingress: [{action: Allow}], egress: [{action: Allow}], labelsToApply: {zone: dmz}}")
    closed = doc("GlobalNetworkPolicy", "{selector: zone == 'dmz', ingress: []}")
    assert ask(hep(", profiles: [mine]"), labelled, closed)("8.8.8.8", "host:n1") == "Deny"
    of_namespace = labelled.replace("name: mine", "name: kns.x")
    said = ask(of_namespace, closed)
    assert [said("8.8.8.8", to) for to in ("x/a", "y/a")] == ["Deny", "Allow"]
    peer = doc(
        "GlobalNetworkPolicy",
        "{selector: pod == 'a', ingress: [{action: Allow, source: {selector: zone == 'dmz'}}]}",
    )
    said = ask(of_namespace, peer)
    assert [said(p, "y/a") for p in ("x/b", "y/b")] == ["Allow", "Deny"]


def test_an_endpoints_own_labels_win_over_its_profiles_and_the_first_profile_over_the_next(
    ask: Asker,
) -> None:
    one, two = (
        profile(f"{{ingress: [{{action: Allow}}], labelsToApply: {{role: {n}, zone: {n}}}}}", n)
        for n in ("one", "two")
    )
    more = ", profiles: [one, two]"
    for selector, verdict in (
        ("role == 'host'", "Deny"),
        ("role == 'one'", "Allow"),
        ("zone == 'one'", "Deny"),
        ("zone == 'two'", "Allow"),
    ):
        policy = doc("GlobalNetworkPolicy", f"{{selector: {selector}, ingress: []}}")
        assert ask(hep(more), one, two, policy)("8.8.8.8", "host:n1") == verdict


def test_a_profiles_labels_of_a_namespace_are_that_namespaces_labels(ask: Asker) -> None:
    labelled = profile(
        "{ingress: [{action: Allow}], egress: [{action: Allow}], labelsToApply: {pcns.colour: red, projectcalico.org/namespace: y}}",
        "kns.x",
    )
    said = ask(labelled, doc("GlobalNetworkPolicy", "{namespaceSelector: colour == 'red', ingress: []}"))
    assert [said("8.8.8.8", to) for to in ("x/a", "y/a")] == ["Deny", "Allow"]
    said = ask(labelled, doc("NetworkPolicy", "{ingress: []}", meta=", namespace: y"))
    assert [said("8.8.8.8", to) for to in ("x/a", "y/a")] == ["Allow", "Deny"]


def test_no_profile_puts_a_host_into_a_namespace(ask: Asker) -> None:
    labelled = profile(
        "{ingress: [{action: Allow}], egress: [{action: Allow}], labelsToApply: {projectcalico.org/namespace: y}}"
    )
    policy = doc(
        "GlobalNetworkPolicy",
        "{selector: pod == 'b', ingress: [{action: Allow, source: {namespaceSelector: all()}}]}",
    )
    said = ask(hep(", profiles: [mine]"), labelled, policy)
    assert [said(peer, "x/b") for peer in ("y/a", "host:n1")] == ["Allow", "Deny"]
