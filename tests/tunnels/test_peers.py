"""Who a node's WireGuard peers are."""

from ipaddress import IPv4Network
from typing import Any

from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from tunnels.peers import mesh_peers

ME = ObjectKey("Node", "dc1", "", "n1")
KEYS = {"n1": "A" * 43 + "=", "n2": "B" * 42 + "A="}


def node(cluster: str, name: str, *prefixes: str, key: bool = True, address: bool = True) -> Any:
    spec: dict[str, Any] = {"podPrefixes": list(prefixes), "addresses": ["192.0.2.7"] if address else []}
    if key:
        spec["wireguard"] = {"publicKey": KEYS[name], "listenPort": 51821}
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Node",
        "metadata": {"cluster": cluster, "name": name},
        "spec": spec,
    }
    return decode({**document, "status": {"tunnelAddress": "100.64.0.9"}}, is_trusted=True)


def link(*clusters: str) -> Any:
    spec = {"clusters": list(clusters), "mode": "wireguard", "topology": "mesh"}
    return decode({"apiVersion": "causeway.dev/v1", "kind": "Link", "metadata": {"name": "l"}, "spec": spec})


def test_every_node_of_a_linked_cluster_that_told_its_key_is_a_peer_and_no_other() -> None:
    nodes = [
        node("dc1", "n2", "10.1.2.0/24"),
        node("aws1", "n1", "10.2.1.0/24"),
        node("gcp1", "n1", "10.3.1.0/24"),
        node("aws1", "n2", key=False),
    ]
    (peer,) = mesh_peers(ME, nodes, [link("dc1", "aws1"), link("aws1", "gcp1")])
    assert (peer.name, peer.public_key) == ("aws1/n1", KEYS["n1"])
    assert peer.endpoint is not None
    assert (str(peer.endpoint[0]), peer.endpoint[1]) == ("192.0.2.7", 51821)
    assert peer.allowed_ips == (IPv4Network("10.2.1.0/24"), IPv4Network("100.64.0.9/32"))


def test_without_a_link_there_is_none_and_a_node_without_address_waits_to_be_called() -> None:
    assert mesh_peers(ME, [node("aws1", "n1", "10.2.1.0/24")], []) == ()
    (peer,) = mesh_peers(ME, [node("aws1", "n1", "10.2.1.0/24", address=False)], [link("dc1", "aws1")])
    assert peer.endpoint is None


def test_no_prefix_is_in_two_peers_whatever_the_order() -> None:
    nodes = [node("aws1", "n2", "10.2.0.0/16"), node("aws1", "n1", "10.2.1.0/24")]
    for listed in (nodes, nodes[::-1]):
        first, second = mesh_peers(ME, listed, [link("dc1", "aws1")])
        assert (first.name, first.allowed_ips[0]) == ("aws1/n1", IPv4Network("10.2.1.0/24"))
        assert second.allowed_ips == ()
