"""What is denied early, and what the sender is told."""

import struct
from ipaddress import IPv4Address

from benchmarks.datapath import early
from benchmarks.datapath.worlds import networks
from federation.policy.tables import Direction, HostStage, Verdict
from federation.policy.walk import Packet, peer_row, walk


def test_the_policy_denies_its_networks_and_lets_failsafe_ports_and_others_pass() -> None:
    nets = networks(20)
    wanted = early.desired(nets)
    (host,) = wanted.hosts
    number = host.classes.of(HostStage.UNTRACKED)

    def said(address: IPv4Address, port: int) -> Verdict:
        row = peer_row(wanted.tables, wanted.addresses.get(address, 2), address)  # type: ignore[arg-type]  # the world's
        packet = Packet(protocol=17, source_port=40000, destination_port=port)
        return walk(wanted.tables, number, Direction.INGRESS, row, packet)[0]

    assert {said(net.network_address + 1, 9) for net in nets} == {Verdict.DENY}
    assert said(nets[0].network_address + 1, 68) is Verdict.ALLOW
    assert said(nets[0].network_address - 1, 9) is Verdict.ALLOW


def test_the_sender_is_told_from_where_and_through_which_interface() -> None:
    nets = networks(20)
    sent = early.frame(nets, bytes(range(6)), 7)
    assert sent[:6] == bytes(range(6))
    assert struct.unpack("=III", sent[-12:]) == (int(nets[0].network_address), 20, 7)


def test_nftables_denies_the_same() -> None:
    text = early.ruleset(early.NETDEV, networks(3))
    assert all(str(net) in text for net in networks(3))
    assert "tcp . 22" in text
    assert text.index("accept") < text.index("drop")
