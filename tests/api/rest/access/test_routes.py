"""Rights at the door: what no role opens, what a scoped one shows, tokens and the audit log over REST."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from api.rest.app import application
from api.rest.guard.limits import LimitSettings
from api.rest.watching import filtered
from controlplane.access.actor import Actor, inside
from controlplane.intent import Change, ListQuery, Verb
from controlplane.service import ControlPlane
from controlplane.store import tables as t
from federation.access.rights import Right
from federation.access.scopes import Bounds, Grant
from federation.audit import Chain, Deed, Entry
from federation.kinds.registry import KINDS
from federation.resources.codec import decode
from federation.resources.metadata import Scope

FIELDS = ("at", "actor", "address", "request", "action", "subject", "before", "after")
ANYBODYS = {
    ("get", "/api/v1/whoami"),
    ("get", "/api/v1/kinds"),
    ("post", "/api/v1/apply"),
    ("post", "/api/v1/delete"),
}
"""Routes that open for whoever is known; of a bulk, each document is judged."""
Open = Callable[..., Any]


@pytest.fixture
def as_user(plane: ControlPlane) -> Open:
    """A client with a token of these grants."""

    async def open_(
        *grants: Grant, limits: LimitSettings = LimitSettings(), name: str = "ann"
    ) -> httpx.AsyncClient:
        token = await plane.access.create_token(name, grants=grants)
        transport = httpx.ASGITransport(application(plane, limits), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token.text}"}
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return open_


def document(kind: str, name: str, spec: dict[str, Any], **meta: str) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


async def put(plane: ControlPlane, *documents: dict[str, Any]) -> None:
    resources = [decode(each) for each in documents]
    changes = [Change(verb=Verb.APPLY, key=r.key, resource=r) for r in resources]
    await plane.change(changes, actor=inside("owner"))


def operations(plane: ControlPlane) -> list[tuple[str, str, dict[str, Any]]]:
    paths = application(plane).openapi()["paths"]
    return [(method, path, said) for path, methods in paths.items() for method, said in methods.items()]


def filled(path: str) -> str:
    for name, value in (
        ("{name}", "x"),
        ("{cluster}", "dc1"),
        ("{namespace}", "shop"),
        ("{revision}", "0"),
        ("{token_id}", "x"),
    ):
        path = path.replace(name, value)
    return path


async def test_nothing_opens_without_a_credential(plane: ControlPlane) -> None:
    transport = httpx.ASGITransport(application(plane), raise_app_exceptions=False)
    asked = 0
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for method, path, said in operations(plane):
            if said.get("security") != []:
                asked += 1
                assert (await client.request(method, filled(path))).status_code == 401, (method, path)
    assert asked > 6 * len(KINDS)


async def test_a_user_without_a_role_is_known_and_may_nothing(plane: ControlPlane, as_user: Open) -> None:
    async with await as_user(Grant("viewer")) as client:
        async with plane.database.transaction() as connection:
            await connection.execute(t.api_tokens.update().values(grants="[]"))
        told = (await client.get("/api/v1/whoami")).json()
        assert told == {"name": "ann", "grants": [], "rights": []}
        refused = 0
        for method, path, said in operations(plane):
            if said.get("security") == [] or (method, path) in ANYBODYS:
                continue
            refused += 1
            assert (await client.request(method, filled(path))).status_code == 403, (method, path)
        assert refused > 6 * len(KINDS)
        bulk = {"items": [document("Tier", "a", {})]}
        for path in ("/api/v1/apply", "/api/v1/delete"):
            answer = await client.post(path, json=bulk)
            assert answer.status_code == 403
            assert answer.json()["detail"].startswith("ann may not write policy")
            assert "policy-admin" in answer.json()["hint"]


@pytest.mark.parametrize("role", ["viewer", "auditor", "policy-admin", "network-admin", "owner"])
async def test_each_kinds_routes_open_for_the_roles_that_hold_its_right(
    plane: ControlPlane, as_user: Open, role: str
) -> None:
    async with await as_user(Grant(role)) as client:
        rights = (await client.get("/api/v1/whoami")).json()["rights"]
        for kind in KINDS:
            path = f"/api/v1/{kind.plural}"
            assert (await client.get(path)).status_code == 200
            status = (await client.post(path, content=b"{")).status_code
            assert status == (400 if kind.right in [Right(r) for r in rights] else 403), kind.name


async def test_a_scoped_reader_gets_no_other_objects_by_any_route(plane: ControlPlane, as_user: Open) -> None:
    await put(
        plane,
        document("Cluster", "dc1", {"prefixes": ["10.10.0.0/16"]}),
        document("Cluster", "aws1", {"prefixes": ["10.20.0.0/16"]}),
        document("Namespace", "shop", {}, cluster="dc1"),
        document("Namespace", "secret", {}, cluster="aws1"),
    )
    async with await as_user(Grant("viewer", Bounds(clusters=frozenset({"dc1"})))) as client:
        listed = (await client.get("/api/v1/namespaces")).json()
        assert [item["metadata"]["name"] for item in listed["items"]] == ["shop"]
        assert (await client.get("/api/v1/namespaces/dc1/shop")).status_code == 200
        assert (await client.get("/api/v1/namespaces/aws1/secret")).status_code == 404
        assert (await client.get("/api/v1/tiers")).json()["items"] == []
        for kind in KINDS:
            answer = await client.get(f"/api/v1/{kind.plural}", params={"limit": 5000})
            assert "aws1" not in answer.text
            one = {Scope.FEDERATION: "aws1", Scope.CLUSTER: "aws1/secret", Scope.NAMESPACE: "aws1/secret/x"}[
                kind.scope
            ]
            assert (await client.get(f"/api/v1/{kind.plural}/{one}")).status_code == 404
        rollout = (await client.get(f"/api/v1/rollouts/{plane.hub.revision}")).json()
        assert rollout["complete"]


async def test_a_watch_of_a_scoped_reader_tells_of_no_other_objects_nor_that_they_are_gone() -> None:
    mine, theirs = (document("Namespace", "shop", {}, cluster=home) for home in ("dc1", "aws1"))

    async def source() -> AsyncIterator[dict[str, Any]]:
        for kind in ("ADDED", "MODIFIED", "DELETED"):
            for item in (mine, theirs):
                yield {"type": kind, "object": item}
        yield {"type": "BOOKMARK", "revision": 9}

    who = Actor(name="ann", grants=(Grant("viewer", Bounds(clusters=frozenset({"dc1"}))),))
    told = [event async for event in filtered(source(), ListQuery(kind="Namespace"), who.sees)]
    assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    assert all(event.get("object", mine) == mine for event in told)


async def test_a_page_of_a_scoped_reader_is_as_long_as_anybodys(plane: ControlPlane, as_user: Open) -> None:
    await put(plane, *(document("Cluster", f"c{n}", {"prefixes": [f"10.{n}.0.0/16"]}) for n in range(6)))
    async with await as_user(Grant("viewer", Bounds(clusters=frozenset({"c1", "c3", "c5"})))) as client:
        first = (await client.get("/api/v1/clusters", params={"limit": 2})).json()
        assert [i["metadata"]["name"] for i in first["items"]] == ["c1", "c3"]
        more = {"limit": 2, "continue": first["metadata"]["continue"]}
        second = (await client.get("/api/v1/clusters", params=more)).json()
        assert [i["metadata"]["name"] for i in second["items"]] == ["c5"]


async def test_api_tokens_over_rest(plane: ControlPlane, as_user: Open) -> None:
    async with await as_user(Grant("owner")) as client:
        body = {"name": "ci", "grants": [{"role": "viewer", "clusters": ["dc1"]}], "ttlSeconds": 60}
        made = (await client.post("/api/v1/apitokens", json=body)).json()
        assert made["grants"] == [{"role": "viewer", "clusters": ["dc1"]}]
        assert made["createdBy"] == "ann"
        as_ci = {"Authorization": f"Bearer {made['token']}"}
        assert (await client.get("/api/v1/whoami", headers=as_ci)).json()["rights"] == ["read"]
        listed = (await client.get("/api/v1/apitokens")).text
        assert made["id"] in listed
        assert made["token"].partition(".")[2] not in listed
        assert (await client.delete(f"/api/v1/apitokens/{made['id']}")).status_code == 204
        assert (await client.get("/api/v1/whoami", headers=as_ci)).status_code == 401
        assert (await client.delete(f"/api/v1/apitokens/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""), ({}, "/name"), ({"name": "x"}, "/grants"), ({"name": "x", "grants": []}, "/grants"), ({"name": "x", "grants": [5]}, "/grants/0"),
        ({"name": "x", "grants": [{"role": "root"}]}, "/grants/0/role"), ({"name": "x", "grants": [{"role": ["viewer"]}]}, "/grants/0/role"),
        ({"name": "x", "grants": [{"role": "viewer", "clusters": []}]}, "/grants/0/clusters"),
        ({"name": "x", "grants": [{"role": "viewer", "clusters": "dc1"}]}, "/grants/0/clusters"),
        ({"name": "x", "grants": [{"role": "viewer", "cluster": ["a"]}]}, "/grants/0/cluster"),
        ({"name": "x", "grants": [{"role": "viewer"}], "ttlSeconds": True}, "/ttlSeconds"),
        ({"name": "x", "grants": [{"role": "viewer"}], "ttlSeconds": 0}, "/ttlSeconds"), ({"name": "x", "grants": [{"role": "viewer"}], "more": 1}, "/more"),
    ],
)  # fmt: skip
async def test_a_token_that_is_asked_for_wrongly_is_refused_with_the_place(
    api: httpx.AsyncClient, body: Any, pointer: str
) -> None:
    answer = await api.post("/api/v1/apitokens", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_the_audit_log_over_rest_is_the_whole_chain_and_says_where_from(
    plane: ControlPlane, as_user: Open
) -> None:
    async with await as_user(Grant("owner")) as client:
        await client.put("/api/v1/tiers/x", json=document("Tier", "x", {}))
        await client.post("/api/v1/tiers", json=document("Tier", "x", {}), headers={"X-Request-Id": "mine-1"})
        found = (await client.get("/api/v1/audit")).json()
        chain = Chain()
        for item in found["items"]:
            chain.add(Entry(item["sequence"], Deed(**{f: item[f] for f in FIELDS}), item["hash"]))
        assert (chain.sequence, chain.head) == (found["written"], found["head"])
        newest = found["items"][-1]
        assert (newest["actor"], newest["subject"], newest["request"]) == ("ann", "Tier x", "mine-1")
        assert newest["address"] == "127.0.0.1"
        only = (await client.get("/api/v1/audit", params={"subject": "Tier", "limit": 1})).json()["items"]
        assert only == [newest]
        for wrong in ({"limit": 0}, {"after": -1}, {"since": "yesterday"}, {"unknown": 1}):
            assert (await client.get("/api/v1/audit", params=wrong)).status_code == 422


async def test_only_who_may_read_all_of_the_audit_log_reads_it(as_user: Open) -> None:
    for grant, status in (
        (Grant("auditor"), 200), (Grant("viewer"), 403), (Grant("network-admin"), 403), (Grant("auditor", Bounds(clusters=frozenset({"dc1"}))), 403),
    ):  # fmt: skip
        async with await as_user(grant) as client:
            assert (await client.get("/api/v1/audit")).status_code == status


async def test_who_asks_too_often_is_told_when_to_come_again_and_holds_up_nobody_else(
    plane: ControlPlane, as_user: Open
) -> None:
    slow = LimitSettings(per_second=0.5, burst=3, strangers_per_second=0.5, strangers_burst=3)
    async with await as_user(Grant("viewer"), limits=slow) as client:
        statuses = [(await client.get("/api/v1/tiers")).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await client.get("/api/v1/tiers")
        assert refused.headers["retry-after"] == "2"
        assert refused.json()["title"] == "too-many"
        other = await plane.access.create_token("bob", grants=[Grant("viewer")])
        as_bob = {"Authorization": f"Bearer {other.text}"}
        assert (await client.get("/api/v1/tiers", headers=as_bob)).status_code == 200
        guesses = [
            (await client.get("/api/v1/tiers", headers={"Authorization": f"Bearer x{n}.y"})).status_code
            for n in range(4)
        ]
        assert guesses == [401, 429, 429, 429], "two strangers' turns went to ann and bob"
        assert (await client.get("/api/v1/tiers", headers=as_bob)).status_code == 200
        assert "causeway_requests_refused 6.0" in (await client.get("/metrics")).text
