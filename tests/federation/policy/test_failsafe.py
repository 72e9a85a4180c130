"""Failsafe ports as Felix's settings write them, and what they let pass."""

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.policy.failsafe import FAILSAFE, Failsafe, FailsafePort, parse_ports, written
from federation.policy.tables import Direction

INGRESS, EGRESS = Direction
NEAR, FAR = IPv4Address("10.0.0.7"), IPv4Address("8.8.8.8")


def test_ports_are_read_with_protocol_and_prefix_and_are_tcps_without() -> None:
    assert parse_ports("tcp:22, UDP:10.0.0.0/8:68,sctp:[fd00::/8]:179, 443") == (
        FailsafePort(6, 22),
        FailsafePort(17, 68, ip_network("10.0.0.0/8")),
        FailsafePort(132, 179, ip_network("fd00::/8")),
        FailsafePort(6, 443),
    )
    assert parse_ports("none") == parse_ports(" None ") == ()
    assert parse_ports("22,tcp:22") == (FailsafePort(6, 22),)


@pytest.mark.parametrize(
    "text",
    ["", "tcp", "tcp:", "icmp:8", "tcp:0", "tcp:65536", "tcp:22:10.0.0.0/8", "tcp:10.0.0.1/8:22", "tcp:fd00::/8:22", "tcp:22,", "none,22"],
)  # fmt: skip
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_ports(text)


ports = st.builds(
    FailsafePort,
    st.sampled_from([6, 17, 132]),
    st.integers(1, 65535),
    st.sampled_from([None, ip_network("10.0.0.0/8"), ip_network("fd00::/8")]),
)


@given(st.lists(ports, max_size=4, unique=True))
def test_what_is_written_is_read_again(listed: list[FailsafePort]) -> None:
    assert parse_ports(written(listed)) == tuple(listed)


def test_the_defaults_are_calicos_and_the_ways_to_the_control_plane_and_of_tunnels() -> None:
    both = "tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667,tcp:8440,udp:51820"
    assert written(FAILSAFE.inbound) == f"tcp:22,udp:68,{both}"
    assert written(FAILSAFE.outbound) == f"udp:53,udp:67,{both}"


def test_a_port_is_safe_in_its_direction_and_where_the_peer_is_in_its_prefix() -> None:
    failsafe = Failsafe(inbound=parse_ports("tcp:10.0.0.0/8:22"), outbound=parse_ports("udp:53"))
    assert [failsafe.is_safe(INGRESS, 6, 22, peer) for peer in (NEAR, FAR, None)] == [True, False, False]
    assert [failsafe.is_safe(EGRESS, *asked, FAR) for asked in ((17, 53), (6, 53), (6, 22))] == [True, False, False]  # fmt: skip


def test_an_answer_comes_from_a_port_that_is_safe_the_other_way() -> None:
    failsafe = Failsafe(inbound=parse_ports("tcp:10.0.0.0/8:22"), outbound=parse_ports("udp:53"))
    assert [failsafe.is_answer(EGRESS, 6, 22, peer) for peer in (NEAR, FAR)] == [True, False]
    assert [failsafe.is_answer(INGRESS, 17, 53, FAR), failsafe.is_answer(EGRESS, 17, 53, FAR)] == [True, False]  # fmt: skip
