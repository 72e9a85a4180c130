"""Requests that are wrong in ways that once passed, or ended in a 500: each is refused, and says what is wrong where."""

from typing import Any

import httpx
import pytest


def tier(name: str = "a", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": name}, **parts}


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/api/v1/tiers?limit=²", "limit '²' is not in 1-5000"), ("GET", "/api/v1/tiers?since=-1", "since '-1' is not in"), ("GET", "/api/v1/tiers?since=x", "since 'x' is not in"),
        ("GET", "/api/v1/tiers?limit=" + "9" * 5000, "is not in 1-5000"), ("GET", "/api/v1/tiers?watch=yes", "watch 'yes' is neither true nor false"), ("DELETE", "/api/v1/tiers/a?dryRun=1", "dryRun '1' is neither true nor false"),
        ("GET", "/api/v1/tiers/a?dryRun=true", "unknown query parameter(s) dryRun"), ("GET", "/api/v1/rollouts/x", "revision 'x' is not in"), ("GET", "/api/v1/rollouts/-1", "revision '-1' is not in"), ("GET", "/api/v1/rollouts/0?wait=nan", "wait 'nan' is not a number of seconds"),
        ("GET", "/api/v1/rollouts/0?wait=-1", "wait '-1' is not"), ("GET", "/api/v1/rollouts/0?wat=1", "unknown query parameter(s) wat"), ("GET", "/api/v1/tiers/a%00b", "a NUL"), ("GET", "/api/v1/tiers?cluster=%00", "a NUL"), ("GET", "/api/v1/tiers?labelSelector=a%20==", "a string in quotes"),
        ("GET", "/api/v1/version?x=1", "unknown query parameter(s) x"), ("GET", "/api/v1/kinds?x=1", "unknown query parameter(s) x"), ("GET", "/api/v1/jointokens?x=1", "unknown query parameter(s) x"),
    ],
)  # fmt: skip
async def test_a_query_or_path_that_means_nothing_is_refused(
    api: httpx.AsyncClient, method: str, path: str, said: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("etag", ["²", '"²"', "x", '"-1"', "9" * 30, '""1""', "W/1"])
async def test_an_etag_that_is_not_ours_is_refused(api: httpx.AsyncClient, etag: str) -> None:
    await api.post("/api/v1/tiers", json=tier())
    answer = await api.delete("/api/v1/tiers/a", headers=[(b"if-match", etag.encode("latin-1"))])
    assert answer.status_code == 422
    assert "is not an ETag" in answer.json()["detail"]
    assert (await api.get("/api/v1/tiers/a")).status_code == 200


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"spec": []}, "/spec"), ({"spec": 0}, "/spec"), ({"spec": ""}, "/spec"), ({"spec": False}, "/spec"), ({"status": []}, "/status"), ({"metadata": None}, "/metadata"), ({"metadata": {}}, "/metadata/name"),
        ({"metadata": {"name": "a..b"}}, "/metadata/name"), ({"metadata": {"name": "Not_A.Label!"}}, "/metadata/name"), ({"metadata": {"name": "a", "labels": {"on": True}}}, "/metadata/labels/on"),
        ({"metadata": {"name": "a", "labels": {"a/b/c": "x"}}}, "/metadata/labels/a~1b~1c"), ({"metadata": {"name": "a", "revision": -1.5}}, "/metadata/revision"), ({"spec": {"order": "5"}}, "/spec/order"), ({"kind": ["Tier"]}, "/kind"), ({"apiVersion": 1}, "/apiVersion"),
    ],
)  # fmt: skip
async def test_a_wrong_part_of_a_document_has_its_pointer(
    api: httpx.AsyncClient, parts: dict[str, Any], pointer: str
) -> None:
    answer = await api.post("/api/v1/tiers", json={**tier(), **parts})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        (rb'{"metadata": {"name": "\ud800"}}', "/metadata/name", "no character of text"), (rb'{"a": ["\u0000"]}', "/a/0", "no character of text"), (b'{"a": 1e400}', "/a", "beyond what a number can hold"),
        (b'{"a": 99999999999999999999}', "/a", "beyond 64 bits"), (b'{"a": {"b": 1, "b": 2}}', "/a/b", "stands twice"),
    ],
)  # fmt: skip
async def test_a_body_that_python_would_read_is_refused_with_its_pointer(
    api: httpx.AsyncClient, body: bytes, pointer: str, said: str
) -> None:
    answer = await api.post("/api/v1/tiers", content=body)
    assert (answer.status_code, answer.json()["title"]) == (400, "malformed")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert said in answer.json()["detail"]


async def test_a_patch_nested_without_end_is_refused(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/tiers", json=tier())
    deep = b'{"spec":' * 500 + b"{}" + b"}" * 500
    answer = await api.patch("/api/v1/tiers/a", content=deep)
    assert (answer.status_code, answer.json()["title"]) == (400, "malformed")


async def test_one_bad_document_of_a_bulk_changes_nothing(api: httpx.AsyncClient) -> None:
    items = [tier("a"), tier("b", spec=[]), {"kind": "Nope"}, None]
    answer = await api.post("/api/v1/apply", json={"items": items})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/items/1/spec",
        "/items/2/apiVersion",
        "/items/3",
    ]
    assert (await api.get("/api/v1/tiers")).json()["items"] == []


async def test_a_misspelt_field_of_a_request_is_not_passed_over(api: httpx.AsyncClient) -> None:
    bulk = await api.post("/api/v1/apply", json={"items": [], "dryRun": True})
    assert [error["pointer"] for error in bulk.json()["errors"]] == ["/dryRun"]
    token = await api.post("/api/v1/jointokens", json={"cluster": "c", "ttl": 5})
    assert [error["pointer"] for error in token.json()["errors"]] == ["/ttl"]


async def test_an_address_that_is_a_number_is_not_taken_for_one(api: httpx.AsyncClient) -> None:
    asked = {"token": "a.b", "cluster": "c", "node": "n", "addresses": [5, "192.0.2.1", "x"], "podPrefixes": [True]}  # fmt: skip
    answer = await api.post("/agent/v1/join", json=asked)
    assert answer.status_code == 422
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/addresses/0", "/addresses/2", "/podPrefixes/0"]


async def test_a_number_beyond_what_sql_holds_is_no_revision(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/tiers", json=tier())
    for revision in (2**63, 2**64 - 1, -(2**63)):
        document = tier(metadata={"name": "a", "revision": revision})
        assert (await api.put("/api/v1/tiers/a", json=document)).status_code in (412, 422)
        assert (await api.post("/api/v1/apply", json={"items": [document]})).status_code in (412, 422)
