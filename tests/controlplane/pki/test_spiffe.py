"""Identities in certificates: read back as they were written, and nothing else."""

import pytest

from controlplane.pki.spiffe import node_id, node_of, relay_id, relay_of
from federation.errors import InvalidInput, Unauthenticated


def test_an_identity_is_read_back() -> None:
    assert node_of(node_id("a.example", "dc1", "n-1.x"), "a.example") == ("dc1", "n-1.x")
    assert relay_of(relay_id("a.example", "dc1", "r1"), "a.example") == ("dc1", "r1")


def test_a_relay_is_no_node_and_a_node_no_relay() -> None:
    with pytest.raises(Unauthenticated, match="no node"):
        node_of(relay_id("a.example", "dc1", "r1"), "a.example")
    with pytest.raises(Unauthenticated, match="no relay"):
        relay_of(node_id("a.example", "dc1", "n1"), "a.example")


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://b.example/cluster/dc1/node/n1", "spiffe://a.example/cluster/dc1/node/n1/x", "spiffe://a.example/cluster/dc1/node/",
        "spiffe://a.example/cluster//node/n1", "https://a.example/cluster/dc1/node/n1", "spiffe://a.example/server", "", "spiffe://a.example/cluster/DC1/node/n1",
    ],
)  # fmt: skip
def test_any_other_identity_is_no_nodes(text: str) -> None:
    with pytest.raises(Unauthenticated):
        node_of(text, "a.example")


@pytest.mark.parametrize("name", ["a/b", "", "..", "A", "a b", "é"])
def test_a_name_that_would_make_another_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        node_id("a.example", name, "n1")
