"""Who learns of what."""

from typing import Any

import pytest

from controlplane.fanout.sight import Sight, linked_with, subjects_of
from federation.identities import CLUSTER_LABEL
from federation.resources.codec import decode

DC1 = Sight("dc1", frozenset({"dc1", "aws1"}))
"""Of the agents of dc1, which is linked with aws1, and not with gcp1."""


def document(kind: str, name: str = "x", spec: dict[str, Any] | None = None, **meta: str) -> dict[str, Any]:
    return {
        "apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec or {}
    }  # fmt: skip


def is_seen(given: dict[str, Any], sight: Sight = DC1) -> bool:
    key = decode(given, is_trusted=True).key
    return sight.sees(key, given, subjects_of(key, given))


def policy(selector: str, **meta: str) -> dict[str, Any]:
    spec = {"selector": selector, "types": ["Ingress"], "ingress": [{"action": "Allow"}]}
    if "namespace" in meta:
        return document("NetworkPolicy", spec=spec, **meta)
    return document("GlobalNetworkPolicy", spec=spec, **meta)


@pytest.mark.parametrize(("home", "expected"), [("dc1", True), ("aws1", True), ("gcp1", False)])
def test_an_agent_learns_of_its_own_cluster_and_of_linked_ones(home: str, expected: bool) -> None:
    endpoint = {"node": "n", "addresses": ["10.1.1.1"]}
    assert is_seen(document("Endpoint", spec=endpoint, cluster=home, namespace="shop")) is expected
    assert is_seen(document("Cluster", home, {"prefixes": ["10.1.0.0/16"]})) is expected
    identity = {"number": 300, "labels": {CLUSTER_LABEL: home, "app": "db"}}
    assert is_seen(document("Identity", spec=identity)) is expected
    assert is_seen(document("NetworkSet", spec={"nets": ["192.0.2.0/24"]}, cluster=home, namespace="shop")) is expected  # fmt: skip


def test_what_is_of_no_cluster_is_everybodys() -> None:
    assert is_seen(document("Tier", spec={"order": 5}))
    assert is_seen(document("GlobalNetworkSet", spec={"nets": ["192.0.2.0/24"]}))
    assert is_seen(document("NetworkSet", spec={"nets": ["192.0.2.0/24"]}, namespace="shop"))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app == 'db'", True), (f"{CLUSTER_LABEL} == 'dc1'", True), (f"{CLUSTER_LABEL} == 'aws1'", False),
        (f"{CLUSTER_LABEL} in {{'dc1', 'gcp1'}} && app == 'db'", True), (f"{CLUSTER_LABEL} != 'dc1'", False), ("all()", True),
    ],
)  # fmt: skip
def test_of_policies_only_what_can_select_its_own_endpoints(selector: str, expected: bool) -> None:
    assert is_seen(policy(selector)) is expected


def test_a_linked_clusters_policies_are_that_clusters_business() -> None:
    assert is_seen(policy("all()", cluster="dc1", namespace="shop"))
    assert not is_seen(policy("all()", cluster="aws1", namespace="shop"))
    assert is_seen(policy("all()", namespace="shop"))


def test_staged_policies_are_nobodys() -> None:
    spec = {"selector": "all()", "types": ["Ingress"]}
    assert not is_seen(document("StagedGlobalNetworkPolicy", spec=spec))


def test_a_policy_that_cannot_be_read_is_shown() -> None:
    broken = {"kind": "GlobalNetworkPolicy", "metadata": {"name": "x"}, "spec": {"selector": "((("}}
    key = decode(policy("all()"), is_trusted=True).key
    assert DC1.sees(key, broken, subjects_of(key, broken)), (
        "fail closed: the agent says that it cannot read it"
    )


def test_links_are_followed_one_step() -> None:
    links = [("dc1", "aws1"), ("aws1", "gcp1")]
    assert linked_with("dc1", links) == {"dc1", "aws1"}
    assert linked_with("aws1", links) == {"dc1", "aws1", "gcp1"}
    assert linked_with("away", links) == {"away"}
