"""The kernel's messages: what a plan is encoded as and what an answer is read as, by the very bytes (linux/wireguard.h)."""

import base64
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from pyroute2.netlink.generic.wireguard import AsyncWireGuard, wgmsg

from tunnels.driver.kernel import messages_of, observed_of
from tunnels.driver.plan import PeerChange, Plan
from tunnels.keys import load_or_make

NETS = (IPv4Network("10.20.1.0/24"), IPv4Network("100.64.0.2/32"))


def on_the_wire(message: dict[str, Any]) -> Any:
    """A WG_CMD_SET_DEVICE as bytes, and those bytes decoded again."""
    encoded = wgmsg()
    encoded["attrs"].append(["WGDEVICE_A_IFNAME", "cw-wg0"])
    for name, attribute in (
        ("private_key", "WGDEVICE_A_PRIVATE_KEY"),
        ("listen_port", "WGDEVICE_A_LISTEN_PORT"),
    ):
        if name in message:
            encoded["attrs"].append([attribute, message[name]])
    if "peer" in message:
        builder = AsyncWireGuard.__new__(AsyncWireGuard)  # its builder of peers needs no socket
        builder._wg_set_peer(encoded, message["peer"])
    encoded.encode()
    decoded = wgmsg(encoded.data)
    decoded.decode()
    return decoded


def text(key: Any) -> str:
    """A key as pyroute2 decodes it: bytes of base64, bare or under `value`."""
    found = key["value"] if isinstance(key, dict) else key
    return str(found.decode())


def test_key_and_port_then_removals_then_peers(tmp_path: Path) -> None:
    keys, gone, peer = (load_or_make(tmp_path / name) for name in ("own", "gone", "peer"))
    change = PeerChange(
        public_key=peer.public, endpoint=("192.0.2.1", 51820), keepalive_seconds=25, allowed_ips=NETS
    )
    plan = Plan(has_new_key=True, listen_port=51999, removals=(gone.public,), changes=(change,))
    first, removal, addition = (on_the_wire(message) for message in messages_of(plan, keys))
    assert base64.b64decode(text(first.get_attr("WGDEVICE_A_PRIVATE_KEY"))) == keys.private
    assert first.get_attr("WGDEVICE_A_LISTEN_PORT") == 51999
    (removed,) = removal.get_attr("WGDEVICE_A_PEERS")
    assert text(removed.get_attr("WGPEER_A_PUBLIC_KEY")) == gone.public
    assert removed.get_attr("WGPEER_A_FLAGS") == 1  # WGPEER_F_REMOVE_ME
    (added,) = addition.get_attr("WGDEVICE_A_PEERS")
    assert added.get_attr("WGPEER_A_FLAGS") == 2  # WGPEER_F_REPLACE_ALLOWEDIPS
    assert added.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 25
    assert added.get_attr("WGPEER_A_ENDPOINT")["addr"] == "192.0.2.1"
    assert added.get_attr("WGPEER_A_ENDPOINT")["port"] == 51820


def test_what_was_encoded_reads_back_as_what_stands(tmp_path: Path) -> None:
    keys, peer = load_or_make(tmp_path / "own"), load_or_make(tmp_path / "peer")
    change = PeerChange(
        public_key=peer.public, endpoint=("192.0.2.1", 51820), keepalive_seconds=25, allowed_ips=NETS
    )
    messages = [on_the_wire(message) for message in messages_of(Plan(listen_port=7, changes=(change,)), keys)]
    found = observed_of(messages)
    assert found.listen_port == 7
    assert found.peers == {peer.public: frozenset(NETS)}
    assert found.endpoints == {peer.public: "192.0.2.1:51820"}


def test_an_empty_plan_sends_nothing_and_a_standing_endpoint_is_left_alone(tmp_path: Path) -> None:
    keys = load_or_make(tmp_path / "own")
    assert messages_of(Plan(), keys) == []
    change = PeerChange(public_key=keys.public, endpoint=None, keepalive_seconds=25, allowed_ips=())
    (message,) = messages_of(Plan(changes=(change,)), keys)
    assert "endpoint_addr" not in message["peer"]
