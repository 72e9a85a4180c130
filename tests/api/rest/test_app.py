"""The REST API, as its user sees it: answers, refusals, and what they leave behind."""

from collections.abc import Iterator
from typing import Any

import httpx
from openapi_spec_validator import validate

from api.rest import problems
from api.rest.app import application
from api.rest.authentication import Permission
from api.rest.bodies import MAX_BODY
from controlplane.service import ControlPlane
from federation import errors
from federation.access.rights import Right


def cluster(name: str = "dc1", prefix: str = "10.10.0.0/16", **extra: Any) -> dict[str, Any]:
    spec = {"prefixes": [prefix], **extra}
    return {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": spec}


def policy(selector: str) -> dict[str, Any]:
    return {
        "apiVersion": "causeway.dev/v1",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"selector": selector},
    }


async def joined(api: httpx.AsyncClient, home: str = "dc1", **node: Any) -> httpx.Response:
    token = (await api.post("/api/v1/jointokens", json={"cluster": home})).json()["token"]
    return await api.post("/agent/v1/join", json={"token": token, "cluster": home, "node": "n1", **node})


async def test_a_resource_is_created_read_replaced_patched_and_deleted(api: httpx.AsyncClient) -> None:
    created = await api.post("/api/v1/clusters", json=cluster())
    assert created.status_code == 201
    url, etag = "/api/v1/clusters/dc1", created.headers["etag"]
    assert (await api.get(url)).json()["spec"]["prefixes"] == ["10.10.0.0/16"]
    assert (await api.get(url, headers={"If-None-Match": etag})).status_code == 304
    put = await api.put(url, json=cluster(prefix="10.11.0.0/16"), headers={"If-Match": etag})
    assert put.status_code == 200
    patched = await api.patch(url, json={"spec": {"location": "Bern"}})
    assert patched.json()["spec"] == {"prefixes": ["10.11.0.0/16"], "location": "Bern"}
    assert (await api.delete(url)).status_code == 200
    assert (await api.get(url)).status_code == 404


async def test_a_stale_revision_is_refused(api: httpx.AsyncClient) -> None:
    etag = (await api.post("/api/v1/clusters", json=cluster())).headers["etag"]
    await api.put("/api/v1/clusters/dc1", json=cluster(location="x"))
    stale = await api.put("/api/v1/clusters/dc1", json=cluster(location="y"), headers={"If-Match": etag})
    assert stale.status_code == 412
    assert stale.json()["title"] == "stale-revision"


async def test_every_fault_has_its_pointer_and_a_selectors_has_its_caret(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/clusters", json=cluster(prefix="10.0.0.1/8", color="red"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {e["pointer"] for e in answer.json()["errors"]} == {"/spec/prefixes/0", "/spec/color"}
    caret = (await api.post("/api/v1/globalnetworkpolicies", json=policy("app = 'x'"))).json()["errors"][0]
    assert caret["pointer"] == "/spec/selector"
    assert caret["detail"].endswith("    ^")


async def test_unknown_kinds_versions_and_routes_are_refused(api: httpx.AsyncClient) -> None:
    for bad, pointer in (
        ({**cluster(), "kind": "Nope"}, "/items/0/kind"),
        ({**cluster(), "apiVersion": "v9"}, "/items/0/apiVersion"),
    ):
        answer = await api.post("/api/v1/apply", json={"items": [bad]})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await api.get("/api/v1/nopes")).json()["type"].startswith("https://causeway.dev/problems/")


async def test_a_half_broken_bulk_changes_nothing(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/apply", json={"items": [cluster(), cluster("aws1", "10.20.0.0/8"), policy("((")]}
    )
    assert [e["pointer"] for e in answer.json()["errors"]] == [
        "/items/1/spec/prefixes/0",
        "/items/2/spec/selector",
    ]
    overlap = await api.post("/api/v1/apply", json={"items": [cluster(), cluster("aws1", "10.10.1.0/24")]})
    assert overlap.status_code == 409
    assert "cluster dc1" in overlap.json()["detail"]
    assert (await api.get("/api/v1/clusters")).json()["items"] == []


async def test_a_dry_run_changes_nothing(api: httpx.AsyncClient) -> None:
    assert (await api.post("/api/v1/clusters?dryRun=true", json=cluster())).status_code == 201
    assert (await api.get("/api/v1/clusters")).json()["items"] == []


async def test_bodies_that_are_too_large_or_no_json_are_refused(api: httpx.AsyncClient) -> None:
    assert (await api.post("/api/v1/clusters", content=b"x" * (MAX_BODY + 1))).status_code == 413
    broken = await api.post("/api/v1/clusters", content=b'{"a":')
    assert (broken.status_code, "line 1, column 6" in broken.json()["detail"]) == (400, True)


async def test_nobody_gets_in_without_a_credential_of_the_right_kind(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/clusters", json=cluster())
    credential = (await joined(api)).json()["credential"]
    node = {"Authorization": f"Bearer {credential}"}
    assert (await api.get("/api/v1/clusters", headers={"Authorization": ""})).status_code == 401
    assert (await api.get("/api/v1/clusters", headers={"Authorization": "Bearer a.b"})).status_code == 401
    assert (await api.get("/api/v1/clusters", headers=node)).status_code == 403
    assert (await api.post("/agent/v1/report", json={"revision": 1})).status_code == 403
    assert (await api.post("/agent/v1/report", json={"revision": 1}, headers=node)).status_code == 204


async def test_an_agent_cannot_speak_for_another_cluster(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/clusters", json=cluster())
    node = {"Authorization": f"Bearer {(await joined(api)).json()['credential']}"}
    answer = await api.post("/agent/v1/report", json={"revision": 1, "cluster": "aws1"}, headers=node)
    assert answer.status_code == 403
    assert "dc1/n1" in answer.json()["detail"]


async def test_a_rollout_is_complete_when_every_node_has_reported(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/clusters", json=cluster())
    node = {"Authorization": f"Bearer {(await joined(api)).json()['credential']}"}
    revision = (await api.post("/api/v1/apply", json={"items": [policy("all()")]})).json()["revision"]
    assert (await api.get(f"/api/v1/rollouts/{revision}")).json()["behind"] == [
        {"node": "dc1/n1", "why": "never reported"}
    ]
    await api.post("/agent/v1/report", json={"revision": revision}, headers=node)
    assert (await api.get(f"/api/v1/rollouts/{revision}?wait=5")).json()["complete"] is True


async def test_health_and_metrics_answer_without_a_credential(api: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await api.get(path, headers={"Authorization": ""})).status_code == 200
    assert "causeway_revision 0.0" in (await api.get("/metrics")).text


def test_every_error_has_its_status() -> None:
    def tree(cls: type[errors.CausewayError]) -> set[type[errors.CausewayError]]:
        return {cls}.union(*map(tree, cls.__subclasses__()))

    ours = {cls for cls in tree(errors.CausewayError) if cls.__module__ == "federation.errors"}
    assert ours == set(problems.STATUS)


def routes_of(router: Any) -> Iterator[Any]:
    """All routes that have a handler of ours, also those of routers within."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes_of(inner)
        elif hasattr(route, "dependant"):
            yield route


async def test_every_route_declares_its_permission_and_the_openapi_document_is_valid(
    plane: ControlPlane,
) -> None:
    app = application(plane)
    operations = sum(len(path) for path in app.openapi()["paths"].values())
    routes = list(routes_of(app))
    assert len(routes) >= operations
    for route in routes:
        declared = [getattr(d.call, "permission", None) for d in route.dependant.dependencies]
        assert any(isinstance(p, Permission | Right) for p in declared), route
    validate(app.openapi())
