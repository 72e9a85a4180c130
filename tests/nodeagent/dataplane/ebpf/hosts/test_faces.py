"""Which interface is whose, and lists that can be walked."""

from ipaddress import IPv4Address
from typing import Any

from federation.policy.tables import FAILSAFE, CompiledRule, HostClasses, RuleAction, RuleReference, Tables
from federation.policy.walk import Packet, walk
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.hosts import faces
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.drivers import HostAttachment

CLASSES = HostClasses(untracked=0, pre_dnat=0, forward=0, normal=0)
ADDRESS = IPv4Address("192.0.2.1")
INTERFACES = [
    Interface(index=1, name="lo", is_loopback=True, addresses=frozenset({IPv4Address("127.0.0.1")})),
    Interface(index=2, name="eth0", addresses=frozenset({ADDRESS})),
    Interface(index=3, name="eth1", is_up=False),
    Interface(index=4, name="port", is_part=True),
    Interface(index=5, name="cw-wg0", is_bare=True),
    Interface(index=6, name="pod1"),
]


def host(interface: str, **more: Any) -> HostAttachment:
    return HostAttachment(
        host_endpoint=f"dc1//{interface or 'any'}", interface=interface, classes=CLASSES, **more
    )


def names(*hosts: HostAttachment) -> dict[str, str]:
    found = faces.chosen(hosts, INTERFACES, {6})
    known = {each.index: each.name for each in INTERFACES}
    return {known[index]: one.host_endpoint for index, one in found.by_index.items()}


def test_an_interface_goes_to_the_first_that_names_it_and_the_rest_to_the_one_for_all() -> None:
    assert names(host("eth0"), host("*")) == {"eth0": "dc1//eth0", "cw-wg0": "dc1//*"}
    assert names(host("", addresses=(ADDRESS,)), host("*"))["eth0"] == "dc1//any"
    assert names(host("eth1")) == {"eth1": "dc1//eth1"}, "a name is a name, also while it is down"


def test_loopback_and_endpoints_interfaces_are_never_the_nodes() -> None:
    found = faces.chosen([host("lo"), host("pod1"), host("gone"), host("")], INTERFACES, {6})
    assert found.by_index == {}
    assert [report.is_ok for report in found.reports] == [False] * 4


def test_a_list_that_is_too_long_keeps_its_beginning_and_denies_the_rest() -> None:
    safe = CompiledRule(action=RuleAction.ALLOW, destination_ports=(22, 22), protocol=6, rule_id=1)
    leave = CompiledRule(action=RuleAction.PASS, next_tier=layout.MAX_RULES + 5, protocol=17, rule_id=2)
    allow = CompiledRule(action=RuleAction.ALLOW, protocol=47, rule_id=3)
    lines = (safe, leave, *(allow,) * (layout.MAX_RULES + 3))
    cut = faces.walkable(lines)
    assert len(cut) == layout.MAX_RULES
    tables = Tables(classes=((cut, lines[:5]),))
    said = [
        walk(tables, 0, 0, 0, packet)[0]  # type: ignore[arg-type]  # ingress
        for packet in (Packet(protocol=6, destination_port=22), Packet(protocol=17), Packet(protocol=6))
    ]
    assert said == [1, 0, 0]
    assert faces.walkable(lines[:5]) == lines[:5]
    assert not faces.is_whole(Tables(classes=((lines, ()),)), CLASSES)


def test_failsafe_ports_are_the_first_rules_of_what_comes_in() -> None:
    lines = tuple(CompiledRule(action=RuleAction.ALLOW, rule_id=number) for number in range(4))
    safe = RuleReference(tier="", policy=None, index=0, section=f"{FAILSAFE} ingress")
    other = RuleReference(tier="default", policy=None, index=None)
    tables = Tables(classes=((lines, ()),), references={0: safe, 1: safe, 2: other, 3: safe})
    assert faces.failsafe_rules(tables, CLASSES) == 2
    assert faces.failsafe_rules(Tables(classes=(((), ()),)), CLASSES) == 0


def test_a_list_ends_before_the_first_rule_that_asks_a_bit_that_rows_do_not_have() -> None:
    plain = CompiledRule(action=RuleAction.ALLOW, bit=1)
    beyond = CompiledRule(action=RuleAction.ALLOW, bit=layout.ROW_BITS)
    assert faces.walkable((plain, beyond, plain)) == (plain, *faces.DENY_ALL)
