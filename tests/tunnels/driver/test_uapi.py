"""The text protocol of user-space WireGuard: what a plan is written as, how an answer is read."""

from ipaddress import IPv4Network
from pathlib import Path

from tunnels.driver.plan import PeerChange, Plan
from tunnels.driver.uapi import observed, request_of, to_hex
from tunnels.keys import load_or_make

ONE, OTHER = "A" * 43 + "=", "B" * 42 + "A="
NET = IPv4Network("10.20.1.0/24")


def test_a_plan_is_written_with_removals_before_additions() -> None:
    change = PeerChange(
        public_key=OTHER, endpoint=("192.0.2.1", 51820), keepalive_seconds=25, allowed_ips=(NET,)
    )
    text = request_of(Plan(listen_port=7, removals=(ONE,), changes=(change,)), bytes(32))
    assert text == (
        f"set=1\nlisten_port=7\npublic_key={to_hex(ONE)}\nremove=true\npublic_key={to_hex(OTHER)}\nendpoint=192.0.2.1:51820\n"
        f"persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip={NET}\n\n"
    )


def test_no_endpoint_is_written_for_a_standing_peer_and_no_key_unless_it_is_new() -> None:
    change = PeerChange(public_key=ONE, endpoint=None, keepalive_seconds=25, allowed_ips=())
    text = request_of(Plan(changes=(change,)), b"\1" * 32)
    assert "endpoint" not in text
    assert "private_key" not in text


def test_an_answer_is_read_back(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path / "key")
    text = (
        f"private_key={keys.private.hex()}\nlisten_port=7\npublic_key={to_hex(ONE)}\nendpoint=192.0.2.1:9\nallowed_ip=10.20.1.0/24\n"
        "allowed_ip=fd00::/64\nlast_handshake_time_sec=5\nerrno=0\n\n"
    )
    found = observed(text)
    assert (found.public_key, found.listen_port) == (keys.public, 7)
    assert found.peers == {ONE: frozenset({NET})}
    assert (found.endpoints, found.handshakes) == ({ONE: "192.0.2.1:9"}, {ONE: 5})
