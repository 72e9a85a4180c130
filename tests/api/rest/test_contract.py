"""What the API promises beyond its resources: its own description, watches, strict bodies, metrics."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from controlplane.hub import WINDOW
from controlplane.service import ControlPlane


def tier(name: str, order: float = 1, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": meta, "spec": {"order": order}}


async def test_every_body_and_every_problem_has_its_schema(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    created = document["paths"]["/api/v1/tiers"]["post"]
    assert created["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Tier"
    }
    assert "application/problem+json" in created["responses"]["422"]["content"]
    names = {p["name"] for p in document["paths"]["/api/v1/tiers"]["get"]["parameters"]}
    assert names >= {"labelSelector", "fieldSelector", "watch", "since", "continue", "limit"}
    standing = await api.post("/api/v1/tiers", json=tier("a"))
    assert Draft202012Validator(schemas["Tier"]).is_valid(standing.json())
    refused = await api.post("/api/v1/tiers", json=tier("b") | {"colour": 1})
    assert Draft202012Validator(schemas["Problem"]).is_valid(refused.json())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"), (b'{"a": 1, "a": 2}', "key 'a' stands twice"), (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deep"), (b"\xff", "not JSON"), (b"", "not JSON"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_json_is_refused_with_its_place(
    api: httpx.AsyncClient, body: bytes, said: str
) -> None:
    answer = await api.post("/api/v1/tiers", content=body)
    assert answer.status_code == 400
    assert answer.json()["title"] == "malformed"
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/tiers?labelselector=a"),
        ("POST", "/api/v1/apply?dryrun=true"),
        ("DELETE", "/api/v1/tiers/x?dry=1"),
    ],
)
async def test_a_query_parameter_that_is_not_known_is_not_passed_over(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await api.request(method, path, json={"items": []})
    assert answer.status_code == 422
    assert "known" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/api/v1/jointokens", {"cluster": "c", "ttlSeconds": "soon"}, "/ttlSeconds"), ("/api/v1/jointokens", {"cluster": "c", "uses": 0}, "/uses"),
        ("/agent/v1/join", {"token": "a.b", "cluster": "c", "node": 7}, "/node"), ("/agent/v1/join", {"token": "a.b", "cluster": "c", "node": "n", "addresses": "x"}, "/addresses"),
    ],
)  # fmt: skip
async def test_values_of_the_wrong_type_are_faults_with_a_pointer(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await api.post(path, json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_nodes_key_and_report_are_checked(api: httpx.AsyncClient) -> None:
    cluster = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": "c"},
        "spec": {"prefixes": ["10.1.0.0/16"]},
    }
    await api.post("/api/v1/clusters", json=cluster)
    token = (await api.post("/api/v1/jointokens", json={"cluster": "c"})).json()["token"]
    credential = (
        await api.post("/agent/v1/join", json={"token": token, "cluster": "c", "node": "n"})
    ).json()["credential"]
    headers = {"Authorization": f"Bearer {credential}"}
    for body, pointer in (
        ({"publicKey": "short", "listenPort": 1}, "/publicKey"),
        ({"publicKey": "A" * 43 + "=", "listenPort": "x"}, "/listenPort"),
    ):
        answer = await api.put("/agent/v1/key", json=body, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    for report in (
        {"revision": "x"},
        {"revision": 1, "faults": [{"key": 1}]},
        {"revision": 1, "faults": "none"},
    ):
        assert (await api.post("/agent/v1/report", json=report, headers=headers)).status_code == 422


async def events_of(plane: ControlPlane, count: int, since: int | None = None) -> list[tuple[str, str]]:
    found = []
    async with asyncio.timeout(10):
        async for event in plane.watch("Tier", since):
            if event["type"] != "BOOKMARK":
                found.append((event["type"], event["object"]["metadata"]["name"]))
            if len(found) == count:
                return found
    return found


async def test_a_watch_resumes_by_revision_and_says_when_it_cannot(
    api: httpx.AsyncClient, plane: ControlPlane
) -> None:
    await api.post("/api/v1/tiers", json=tier("old"))
    since = plane.hub.revision
    await api.post("/api/v1/tiers", json=tier("new"))
    await api.delete("/api/v1/tiers/old")
    assert await events_of(plane, 2, since) == [("MODIFIED", "new"), ("DELETED", "old")]
    assert await events_of(plane, 1) == [("ADDED", "new")]
    gone = await api.get("/api/v1/tiers", params={"watch": "true", "since": since + 10_000})
    assert (gone.status_code, gone.json()["title"]) == (410, "gone")
    plane.hub.log.clear()
    assert WINDOW > 0
    assert (await api.get("/api/v1/tiers", params={"watch": "true", "since": 1})).status_code == 410
    assert (
        await api.get("/api/v1/tiers", params={"watch": "true", "labelSelector": "a =="})
    ).status_code == 422


async def test_a_filtered_watch_says_what_begins_and_ends_to_match() -> None:
    from api.rest.watching import filtered
    from controlplane.intent import ListQuery

    async def source() -> Any:
        yield {"type": "ADDED", "object": tier("a", team="red")}
        yield {"type": "ADDED", "object": tier("b", team="blue")}
        yield {"type": "BOOKMARK", "revision": 1}
        yield {"type": "MODIFIED", "object": tier("b", team="red")}
        yield {"type": "MODIFIED", "object": tier("a", 2, team="red")}
        yield {"type": "MODIFIED", "object": tier("a", team="blue")}
        yield {"type": "DELETED", "object": tier("a", team="blue")}
        yield {"type": "DELETED", "object": tier("b", team="red")}

    query = ListQuery(kind="Tier", label_selector="team == 'red'")
    found = [
        (e["type"], e.get("object", {}).get("metadata", {}).get("name"))
        async for e in filtered(source(), query, lambda _document: True)
    ]
    assert found == [
        ("ADDED", "a"),
        ("BOOKMARK", None),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("DELETED", "b"),
    ]


async def test_kinds_and_version_are_told(api: httpx.AsyncClient) -> None:
    kinds = {kind["name"]: kind for kind in (await api.get("/api/v1/kinds")).json()["items"]}
    assert kinds["GlobalNetworkPolicy"]["shortNames"] == ["gnp"]
    assert kinds["Identity"]["readOnly"] is True
    assert (await api.get("/api/v1/version", headers={"Authorization": ""})).json() == {"version": "0.1.0"}


async def test_requests_are_measured_by_route_and_not_by_name(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/tiers", json=tier("secretname"))
    await api.get("/api/v1/tiers/secretname")
    await api.get("/api/v1/tiers/missing")
    text = (await api.get("/metrics")).text
    assert (
        'causeway_request_seconds_count{method="GET",route="/api/v1/tiers/{name}",status="2xx"} 1.0' in text
    )
    assert 'route="/api/v1/tiers/{name}",status="4xx"} 1.0' in text
    assert "secretname" not in text
    assert "causeway_requests_in_flight 1.0" in text  # the one that asks


async def test_a_reader_does_not_wait_for_a_writer(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/tiers", json=tier("a"))
    async with plane.database.transaction():
        async with asyncio.timeout(2):
            listed = (await api.get("/api/v1/tiers")).json()["items"]
    assert [item["metadata"]["name"] for item in listed] == ["a"]
    assert json.dumps(listed)


async def test_a_list_that_has_not_changed_is_not_sent_again(api: httpx.AsyncClient) -> None:
    url = "/api/v1/tiers"
    await api.post("/api/v1/apply", json={"items": [tier(f"t{n}") for n in range(450)]})
    first = await api.get(url, params={"limit": 5000})
    assert [item["metadata"]["name"] for item in first.json()["items"]] == sorted(f"t{n}" for n in range(450))
    same = {"If-None-Match": first.headers["etag"]}
    again = await api.get(url, params={"limit": 5000}, headers=same)
    assert (again.status_code, again.content) == (304, b"")
    cluster = {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.10.0.0/16"]}}  # fmt: skip
    await api.post("/api/v1/clusters", json=cluster)
    assert (await api.get(url, params={"limit": 5000}, headers=same)).status_code == 304, "of another kind"
    await api.delete("/api/v1/tiers/t7")
    changed = await api.get(url, params={"limit": 5000}, headers=same)
    assert changed.status_code == 200
    assert len(changed.json()["items"]) == 449
    assert "etag" not in (await api.get("/api/v1/nodes")).headers


async def test_a_page_is_the_same_as_its_objects_read_one_by_one(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/apply", json={"items": [tier("b"), tier("a")]})
    listed = (await api.get("/api/v1/tiers")).json()["items"]
    assert listed == [(await api.get(f"/api/v1/tiers/{name}")).json() for name in ("a", "b")]
