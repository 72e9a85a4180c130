"""Counts of rules over REST: a node tells its own, a user reads sums, and what is wrong is a fault with a pointer."""

from typing import Any

import httpx
import pytest

CLUSTER = {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {"prefixes": ["10.1.0.0/16"]}}  # fmt: skip
POLICY = {"apiVersion": "causeway.dev/v1", "kind": "GlobalNetworkPolicy", "metadata": {"name": "web"}, "spec": {"selector": "all()"}}  # fmt: skip
COUNT = {
    "kind": "GlobalNetworkPolicy",
    "policy": "web",
    "section": "ingress",
    "rule": 0,
    "packets": 5,
    "bytes": 300,
}
ASK = "/api/v1/rulecounts?kind=GlobalNetworkPolicy&policy=web"


@pytest.fixture
async def node(api: httpx.AsyncClient) -> dict[str, str]:
    """What a node's requests carry."""
    await api.post("/api/v1/clusters", json=CLUSTER)
    token = (await api.post("/api/v1/jointokens", json={"cluster": "c"})).json()["token"]
    answer = await api.post("/agent/v1/join", json={"token": token, "cluster": "c", "node": "n"})
    return {"Authorization": f"Bearer {answer.json()['credential']}"}


async def test_what_a_node_tells_a_user_reads(api: httpx.AsyncClient, node: dict[str, str]) -> None:
    await api.post("/api/v1/globalnetworkpolicies", json=POLICY)
    assert (await api.get(ASK)).json() == {"items": [], "nodes": 0}
    answer = await api.post("/agent/v1/counts", json={"counts": [COUNT]}, headers=node)
    assert answer.status_code == 204
    told = {"section": "ingress", "rule": 0, "packets": 5, "bytes": 300}
    assert (await api.get(ASK)).json() == {"items": [told], "nodes": 1}


async def test_only_nodes_tell_and_only_users_ask(api: httpx.AsyncClient, node: dict[str, str]) -> None:
    assert (await api.post("/agent/v1/counts", json={"counts": []})).status_code == 403
    assert (await api.get(ASK, headers=node)).status_code == 403
    assert (await api.get(ASK)).status_code == 404
    assert (await api.get("/api/v1/rulecounts?kind=Tier&policy=x")).status_code == 422
    assert (await api.get("/api/v1/rulecounts?kind=NetworkPolicy&policy=x")).status_code == 422


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "/counts"), ({"counts": {}}, "/counts"), ({"counts": [COUNT] * 1001}, "/counts"), ({"counts": [3]}, "/counts/0"),
        ({"counts": [COUNT, {**COUNT, "packets": -1}]}, "/counts/1/packets"), ({"counts": [{**COUNT, "bytes": True}]}, "/counts/0/bytes"),
        ({"counts": [{**COUNT, "rule": "0"}]}, "/counts/0/rule"), ({"counts": [{**COUNT, "section": None}]}, "/counts/0/section"),
        ({"counts": [{**COUNT, "kind": "Tier"}]}, "/counts/0"), ({"counts": [{**COUNT, "policy": "a/b"}]}, "/counts/0/policy"),
    ],
)  # fmt: skip
async def test_what_is_no_count_is_a_fault_with_its_place(
    api: httpx.AsyncClient, node: dict[str, str], body: Any, pointer: str
) -> None:
    answer = await api.post("/agent/v1/counts", json=body, headers=node)
    assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (422, [pointer])
