"""Probes as users write them: names, ports, protocols, ICMP, what comes back. One sentence each."""

from collections.abc import Callable
from typing import Any

import pytest

from federation.errors import InvalidInput
from federation.simulation.probes import Judge

JudgeOf = Callable[..., Judge]
ECHO = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: x}, spec: {endpointSelector: {}, ingress: [{fromEntities: [all], icmps: [{fields: [{type: EchoRequest, family: IPv4}, {type: EchoRequest, family: IPv6}]}]}]}}"  # fmt: skip
UDP = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}}"  # fmt: skip
SIX = "{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: x}, spec: {}, status: {podIP: 'fd00::%s'}}"


def verdict(judge: Judge, **probe: Any) -> str:
    asked = {"from" if name == "source" else name: value for name, value in probe.items()}
    return str(judge.answer({"from": "y/a", "to": "x/a", **asked})["verdict"])


@pytest.mark.parametrize("word", ["UDP", "udp", "Udp", 17, "17"])
def test_protocols_are_words_in_any_case_or_numbers(judge_of: JudgeOf, word: str | int) -> None:
    assert verdict(judge_of(UDP), port=53, protocol=word) == "Allow"


def test_ports_are_numbers_or_names_of_the_destinations_ports(judge_of: JudgeOf) -> None:
    judge = judge_of(UDP)
    assert [verdict(judge, port=port, protocol="UDP") for port in (53, "53", "dns", 54)] == ["Allow"] * 3 + [
        "Deny"
    ]
    with pytest.raises(InvalidInput, match="no port called 'dns'"):
        verdict(judge, port="dns", protocol="TCP")


def test_icmp_without_a_type_is_an_echo_request_of_the_family(judge_of: JudgeOf) -> None:
    judge = judge_of(ECHO, SIX % ("v", 9), SIX % ("w", 10))
    assert verdict(judge, protocol="icmp") == "Allow"
    assert verdict(judge, protocol="ICMP", icmp={"type": 0}) == "Deny"
    assert verdict(judge, protocol="ICMP", source="fd00::1:1") == "Allow"
    assert verdict(judge, protocol="ICMP", source="x/v", to="x/w") == "Allow"
    assert verdict(judge, protocol="ICMP", source="x/v", to="x/w", icmp={"type": 8}) == "Deny"
    assert verdict(judge, protocol="ICMP", source="x/v", to="x/w", icmp={"type": 128}) == "Allow"


def test_icmpv6_between_pods_of_both_families_goes_over_ipv6(judge_of: JudgeOf) -> None:
    assert verdict(judge_of(ECHO), protocol="ICMPv6") == "Allow"
    assert verdict(judge_of(ECHO), protocol="ICMPv6", icmp={"type": 129}) == "Deny"


@pytest.mark.parametrize(
    "end", ["x/a", "default/x/a", "10.0.0.1", "fd00::1", "FD00:0::0001", "::ffff:10.0.0.1"]
)
def test_a_pod_has_its_name_and_its_addresses(judge_of: JudgeOf, end: str) -> None:
    assert verdict(judge_of(UDP), to=end, port=80) == "Deny"


@pytest.mark.parametrize("end", ["host:n2", "host:default/n2", "192.168.0.2", "y/h"])
def test_a_host_has_its_name_its_addresses_and_its_pods(judge_of: JudgeOf, end: str) -> None:
    opened = UDP.replace("ports: [{port: dns, protocol: UDP}]", "from: [{ipBlock: {cidr: 192.168.0.2/32}}]")
    assert verdict(judge_of(opened), source=end, port=80) == "Allow"


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "x/gone"}, {"to": "host:gone"}, {"to": "a"}, {"to": ""}, {"to": 5}, {"to": None}, {"to": ["x/a"]}, {"to": "10.0.0.1/32"},
        {"port": 65536}, {"port": -1}, {"port": 80.0}, {"port": True}, {"port": "²"}, {"port": "9" * 400}, {"port": []}, {"port": ""},
        {"protocol": "TPC"}, {"protocol": 256}, {"protocol": "300"}, {"protocol": "²"}, {"protocol": []},
        {"icmp": {"type": 8}}, {"protocol": "ICMP", "icmp": 8}, {"protocol": "ICMP", "icmp": {"type": 256}}, {"prot": "UDP"},
    ],
)  # fmt: skip
def test_what_a_probe_does_not_mean_is_said(judge_of: JudgeOf, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        judge_of(UDP).answer({"from": "y/a", "to": "x/a", "port": 80, **wrong})


def test_a_null_is_an_absent_field(judge_of: JudgeOf) -> None:
    assert verdict(judge_of(ECHO), port=None, protocol="ICMP", icmp=None) == "Allow"
    assert verdict(judge_of(UDP), port=53, protocol=None) == "Deny"


def test_all_fields_of_a_probe_come_back_as_they_were(judge_of: JudgeOf) -> None:
    probe = {
        "id": 7,
        "name": "n",
        "expect": "Deny",
        "comment": "c",
        "from": "y/a",
        "to": "x/a",
        "port": "80",
        "protocol": "tcp",
    }
    answer = judge_of(UDP).answer(probe)
    assert {name: answer[name] for name in probe} == probe
    assert list(answer)[: len(probe)] == list(probe)
    assert answer["verdict"] == "Deny"


def test_a_pod_reaches_itself_by_any_of_its_names(judge_of: JudgeOf) -> None:
    assert verdict(judge_of(UDP), source="x/a", to="10.0.0.1", port=80) == "Allow"
