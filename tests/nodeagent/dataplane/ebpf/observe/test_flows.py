"""Events become few lines: what is alike is one, what denials stand for is multiplied, and a window never grows beyond its bound."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from federation.policy.tables import Direction
from nodeagent.dataplane.ebpf.inspect.decode import KINDS, Event
from nodeagent.dataplane.ebpf.observe.flows import Flow, Window

DENIED = Event(
    at=1, kind="denied", reason="denied", direction=Direction.INGRESS, index=3, local=IPv4Address("10.1.1.1"), remote=IPv4Address("10.1.1.2"),
    local_port=8080, remote_port=50000, protocol=6, identity=300, peer=301, rule_id=4, rtt_us=0, packets=(1, 0), bytes=(60, 0), tcp_flags=2,
)  # fmt: skip


def told(window: Window, *events: Event) -> list[Flow]:
    window.add(events, lambda event: f"endpoint {event.index}", lambda event: f"rule {event.rule_id}")
    return window.take()


def test_denied_packets_of_one_peer_to_one_port_are_one_flow_whatever_port_they_come_from() -> None:
    (flow,) = told(Window(), DENIED, replace(DENIED, remote_port=50001, at=2))
    assert (flow.times, flow.packets, flow.bytes, flow.tcp_flags) == (2, [2, 0], [120, 0], 2)
    assert (flow.key.endpoint, flow.key.port, flow.key.verdict, flow.key.rule) == (
        "endpoint 3",
        8080,
        "denied",
        "rule 4",
    )


def test_an_endpoints_own_connections_go_by_the_port_that_it_asks() -> None:
    (flow,) = told(Window(), replace(DENIED, direction=Direction.EGRESS, kind="opened"))
    assert (flow.key.port, flow.key.verdict, flow.key.reason) == (50000, "allowed", "")


def test_each_difference_that_matters_is_a_flow_of_its_own() -> None:
    others = [
        replace(DENIED, index=4), replace(DENIED, peer=9), replace(DENIED, local_port=1), replace(DENIED, protocol=17),
        replace(DENIED, direction=Direction.EGRESS), replace(DENIED, rule_id=5), replace(DENIED, kind="cut"), replace(DENIED, reason="too long"),
    ]  # fmt: skip
    assert len(told(Window(), DENIED, *others)) == 1 + len(others)


def test_a_connection_counts_once_and_its_bytes_when_it_has_ended() -> None:
    began = replace(DENIED, kind="opened")
    ended = replace(DENIED, kind="closed", packets=(5, 4), bytes=(500, 4000))
    (flow,) = told(Window(sample=10), began, ended)
    assert (flow.times, flow.closed, flow.packets, flow.bytes) == (1, 1, [5, 4], [500, 4000])


def test_a_denial_of_a_sample_stands_for_those_that_were_not_told() -> None:
    (flow,) = told(Window(sample=10), DENIED, DENIED)
    assert (flow.times, flow.packets, flow.bytes) == (20, [20, 0], [1200, 0])
    (flow,) = told(Window(sample=10), replace(DENIED, kind="cut"))
    assert flow.times == 1, "each cut is told"


def test_a_window_keeps_so_many_flows_and_counts_the_rest() -> None:
    window = Window(most=3)
    scan = [replace(DENIED, local_port=port) for port in range(10)]
    assert window.add((*scan, DENIED), lambda _: "e", lambda _: "r") == 11
    assert window.others == 8
    assert len(window.take()) == 3
    assert (window.others, window.take()) == (0, [])


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=40), st.integers(1, 5))
def test_nothing_is_told_twice_or_forgotten(told_events: list[tuple[str, int]], most: int) -> None:
    events = [replace(DENIED, kind=kind, local_port=port) for kind, port in told_events]
    window = Window(most=most)
    window.add(events, lambda _: "e", lambda _: "r")
    others = window.others
    assert sum(flow.times + flow.closed for flow in window.take()) + others == len(events)
