"""How a host endpoint's lists are walked, stage by stage: the law for whoever does it in a kernel."""

from ipaddress import ip_address
from typing import Any

import pytest

from federation.compiler.compiler import compile_tables
from federation.identities import HOST, WORLD, IdentityNumber
from federation.policy.failsafe import FAILSAFE, Failsafe, parse_ports
from federation.policy.hosts import governed
from federation.policy.parties import labels_of
from federation.policy.tables import Direction, HostStage, Tables, Verdict
from federation.policy.walk import Crossing, Packet, peer_row, walk_host, walk_stage
from federation.policy.world import world_of
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource, ObjectKey

INGRESS, EGRESS = Direction
ALLOW, DENY = Verdict.ALLOW, Verdict.DENY
UNTRACKED, PRE_DNAT, FORWARD, NORMAL = (
    HostStage.UNTRACKED,
    HostStage.PRE_DNAT,
    HostStage.FORWARD,
    HostStage.NORMAL,
)
HEP = ObjectKey("HostEndpoint", "dc1", "", "h")
AOF = {"applyOnForward": True}
NODE, POD, FAR = "192.0.2.1", "10.1.0.1", "8.8.8.8"


def made(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> AnyResource:
    return decode(
        {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    )


def gnp(name: str, **spec: Any) -> AnyResource:
    return made("GlobalNetworkPolicy", name, {"selector": "role == 'host'", **spec})


class Host:
    """A node with one host endpoint, one workload, and policies."""

    def __init__(self, *policies: AnyResource, profiles: tuple[str, ...] = (), failsafe: Failsafe = FAILSAFE) -> None:  # fmt: skip
        pod = made("Endpoint", "pod", {"node": "n", "addresses": [POD]}, cluster="dc1", namespace="shop", labels={"app": "pod"})  # fmt: skip
        spec = {"node": "n", "interfaceName": "*", "expectedIPs": [NODE], "profiles": list(profiles)}
        hep = made("HostEndpoint", "h", spec, cluster="dc1", labels={"role": "host"})
        identity = made("Identity", "300", {"number": 300, "labels": labels_of(pod)})
        node = made("Node", "n", {"addresses": [NODE]}, cluster="dc1")
        documents = [pod, hep, identity, node, *policies]
        world = governed(world_of(documents), documents)
        self.tables: Tables = compile_tables(world, [pod.key], [("dc1", "n")], failsafe)

    def crossing(self, direction: Direction, port: int, own: str = NODE, source_port: int = 40000, peer: str = FAR) -> Crossing:  # fmt: skip
        packet = Packet(protocol=6, destination_port=port, source_port=source_port)
        return Crossing(
            direction=direction, row=self.row(peer), own_row=self.row(own), packet=packet, is_forwarded=own != NODE
        )  # fmt: skip

    def row(self, text: str) -> int:
        identity = {NODE: HOST, POD: IdentityNumber(300)}.get(text, WORLD)
        return peer_row(self.tables, identity, ip_address(text))

    def says(self, direction: Direction, port: int, own: str = NODE, **more: Any) -> tuple[Verdict, HostStage]:  # fmt: skip
        verdict, stage, _ = walk_host(
            self.tables, self.tables.hosts[HEP], self.crossing(direction, port, own, **more)
        )
        return verdict, stage


def test_without_policies_what_is_the_hosts_own_ends_denied_and_what_passes_through_it_passes() -> None:
    host = Host()
    assert [host.says(direction, 80) for direction in Direction] == [(DENY, NORMAL)] * 2
    assert [host.says(direction, 80, POD) for direction in Direction] == [(ALLOW, FORWARD)] * 2
    assert Host(profiles=("projectcalico-default-allow",)).says(INGRESS, 80) == (ALLOW, NORMAL)


def test_failsafe_ports_are_the_hosts_own_and_those_that_it_was_given() -> None:
    closed = gnp("p", **AOF, ingress=[{"action": "Deny"}], egress=[{"action": "Deny"}])
    host = Host(closed)
    assert [host.says(INGRESS, 22), host.says(EGRESS, 22)] == [(ALLOW, NORMAL), (DENY, NORMAL)]
    assert host.says(INGRESS, 22, POD) == (DENY, FORWARD)
    other = Host(closed, failsafe=Failsafe(inbound=parse_ports("tcp:8.0.0.0/8:99"), outbound=()))
    assert [other.says(INGRESS, 99), other.says(INGRESS, 22)] == [(ALLOW, NORMAL), (DENY, NORMAL)]
    assert other.says(INGRESS, 99, peer="9.9.9.9") == (DENY, NORMAL)


def test_an_early_list_is_the_last_word_where_it_decides_and_nothing_where_it_does_not() -> None:
    web = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}]
    for field, stage in (("doNotTrack", UNTRACKED), ("preDNAT", PRE_DNAT)):
        host = Host(gnp("p", **AOF, **{field: True}, ingress=web))
        assert [host.says(INGRESS, port) for port in (80, 81)] == [(ALLOW, stage), (DENY, NORMAL)]
        assert [host.says(INGRESS, port, POD) for port in (80, 81)] == [(ALLOW, stage), (ALLOW, FORWARD)]
        assert host.says(EGRESS, 80) == (DENY, NORMAL)


def test_failsafe_ports_leave_an_early_list_and_so_do_answers_from_them_the_untracked_one() -> None:
    closed = {"ingress": [{"action": "Deny"}]}
    untracked = Host(gnp("p", **AOF, doNotTrack=True, **closed, egress=[{"action": "Deny"}]))
    assert [untracked.says(INGRESS, port) for port in (22, 80)] == [(ALLOW, NORMAL), (DENY, UNTRACKED)]
    assert untracked.says(INGRESS, 22, POD) == (ALLOW, FORWARD)
    assert untracked.says(EGRESS, 40000, source_port=22) == (DENY, NORMAL)
    assert untracked.says(EGRESS, 40000, source_port=23) == (DENY, UNTRACKED)
    early = Host(gnp("p", **AOF, preDNAT=True, **closed))
    assert [early.says(INGRESS, port, POD) for port in (22, 80)] == [(ALLOW, FORWARD), (DENY, PRE_DNAT)]
    assert early.says(INGRESS, 40000, source_port=6443) == (DENY, PRE_DNAT)


def test_what_passes_through_meets_only_what_applies_to_it_and_a_rule_asks_who_is_behind_the_host() -> None:
    own = gnp("own", ingress=[{"action": "Deny"}])
    assert [Host(own).says(INGRESS, 80, to) for to in (NODE, POD)] == [(DENY, NORMAL), (ALLOW, FORWARD)]
    to_pods = gnp("aof", **AOF, ingress=[{"action": "Allow", "destination": {"selector": "app == 'pod'"}}])
    host = Host(to_pods)
    assert [host.says(INGRESS, 80, to) for to in (NODE, POD, "10.1.0.2")] == [
        (DENY, NORMAL), (ALLOW, FORWARD), (DENY, FORWARD),
    ]  # fmt: skip
    within = gnp("aof", **AOF, ingress=[{"action": "Allow", "destination": {"nets": ["10.1.0.2/32"]}}])
    assert [Host(within).says(INGRESS, 80, to)[0] for to in (POD, "10.1.0.2")] == [DENY, ALLOW]


@pytest.mark.parametrize("stage", HostStage)
def test_a_stage_alone_tells_what_its_list_decides(stage: HostStage) -> None:
    host = Host(gnp("p", **AOF, ingress=[{"action": "Allow", "source": {"nets": ["8.0.0.0/8"]}}]))
    said = walk_stage(host.tables, host.tables.hosts[HEP], stage, host.crossing(INGRESS, 80))
    if stage in (UNTRACKED, PRE_DNAT):
        assert said is None
    else:
        assert said is not None
        assert said[0] is ALLOW
        reference = host.tables.references[said[1]]
        assert (str(reference.policy), reference.index) == ("GlobalNetworkPolicy p", 0)


def test_the_list_of_what_goes_out_before_dnat_is_empty() -> None:
    host = Host(gnp("p", **AOF, preDNAT=True, ingress=[{"action": "Deny"}]))
    classes = host.tables.classes[host.tables.hosts[HEP].pre_dnat]
    assert len(classes[INGRESS]) == len(FAILSAFE.inbound) + 1
    assert classes[EGRESS] == ()
