"""The plan of WireGuard's peers: what stands is adopted, a learned endpoint is kept."""

from ipaddress import IPv4Address, IPv4Network

from tunnels.driver.uapi import Observed, observed, plan, to_hex
from tunnels.peers import TunnelPeer

ONE, OTHER = "A" * 43 + "=", "B" * 42 + "A="
NET = IPv4Network("10.20.1.0/24")


def peer(key: str = ONE, *nets: IPv4Network) -> TunnelPeer:
    return TunnelPeer(
        name="aws1/n1", public_key=key, endpoint=(IPv4Address("192.0.2.1"), 51820), allowed_ips=nets or (NET,)
    )


def standing(**peers: frozenset[IPv4Network]) -> Observed:
    return Observed(listen_port=51820, peers=peers, handshakes={})


def test_a_converged_interface_plans_nothing() -> None:
    assert plan(standing(**{ONE: frozenset({NET})}), [peer()]) == []


def test_a_learned_endpoint_is_kept_when_prefixes_change() -> None:
    lines = plan(standing(**{ONE: frozenset()}), [peer()])
    assert f"allowed_ip={NET}" in lines
    assert not any(line.startswith("endpoint=") for line in lines)
    assert any(line.startswith("endpoint=") for line in plan(standing(), [peer()]))


def test_removals_come_before_additions_so_that_a_prefix_never_has_two_holders() -> None:
    lines = plan(standing(**{ONE: frozenset({NET})}), [peer(OTHER)])
    assert lines.index("remove=true") < lines.index(f"public_key={to_hex(OTHER)}")


def test_an_answer_is_read_back() -> None:
    text = f"listen_port=7\npublic_key={to_hex(ONE)}\nallowed_ip=10.20.1.0/24\nlast_handshake_time_sec=5\nerrno=0\n\n"
    assert observed(text) == Observed(listen_port=7, peers={ONE: frozenset({NET})}, handshakes={ONE: 5})
