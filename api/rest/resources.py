"""Routes of every registered kind: list, watch, create, read, replace, patch, delete; and bulk. No code per kind."""

import re
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import (
    changes_of,
    if_match,
    is_set,
    known_query,
    merged,
    read_json,
    request_key,
    whole_number,
)
from api.rest.descriptions import APPLY, DELETE, KINDS_OF, ROLLOUT, VERSION
from api.rest.openapi import LIST_QUERY, kind_route
from api.rest.watching import filtered, lines
from controlplane.intent import Applied, Change, ListQuery, Verb
from controlplane.store.queries import key_of_path
from federation.errors import Fault, InvalidInput, NotFound, shown
from federation.kinds.registry import KINDS
from federation.resources.codec import decode, encode
from federation.resources.grammar import escaped
from federation.resources.kind import Kind
from federation.resources.metadata import ObjectKey, Scope

USER, PUBLIC = Depends(require(Permission.USER)), Depends(require(Permission.PUBLIC))
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?", re.ASCII)
PATHS = {
    Scope.FEDERATION: "/{name}",
    Scope.CLUSTER: "/{cluster}/{name}",
    Scope.NAMESPACE: "/{cluster}/{namespace}/{name}",
}


def router() -> APIRouter:
    """All of /api/v1 that speaks of resources."""
    routes = APIRouter(prefix="/api/v1")
    for kind in KINDS:
        _add_kind(routes, kind)
    for path, handler, method, said in (
        ("/kinds", kinds, "GET", KINDS_OF), ("/version", version, "GET", VERSION), ("/apply", apply, "POST", APPLY),
        ("/delete", delete_all, "POST", DELETE), ("/rollouts/{revision}", rollout, "GET", ROLLOUT),
    ):  # fmt: skip
        routes.add_api_route(path, handler, methods=[method], openapi_extra=said)
    return routes


def _add_kind(routes: APIRouter, kind: Kind) -> None:
    handlers, many, one = _KindRoutes(kind), f"/{kind.plural}", f"/{kind.plural}{PATHS[kind.scope]}"
    in_path = [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
        for n in re.findall(r"{(\w+)}", one)
    ]
    for path, method, handler in (
        (many, "GET", handlers.listed),
        (many, "POST", handlers.created),
        (one, "GET", handlers.read),
        (one, "PUT", handlers.replaced),
        (one, "PATCH", handlers.patched),
        (one, "DELETE", handlers.deleted),
    ):
        routes.add_api_route(
            path,
            handler,
            methods=[method],
            status_code=201 if method == "POST" else 200,
            summary=f"{handler.__name__} {kind.name}",
            operation_id=f"{handler.__name__}_{kind.plural}",
            tags=[kind.name],
            openapi_extra=kind_route(kind, handler.__name__, in_path),
        )


class _KindRoutes:
    """The handlers of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def key_of(self, request: Request) -> ObjectKey:
        return key_of_path(self.kind.name, "/".join(request.path_params.values()))

    async def listed(self, request: Request, _user: str = USER) -> Response:
        return await _list(request, self.kind)

    async def created(self, request: Request, user: str = USER) -> Response:
        document = await read_json(request)
        resource = decode(document)
        if resource.kind != self.kind.name:
            raise InvalidInput("wrong kind", faults=[Fault("/kind", f"{self.kind.name} is needed here")])
        return await _write(request, Change(verb=Verb.CREATE, key=resource.key, resource=resource), user)

    async def read(self, request: Request, _user: str = USER) -> Response:
        known_query(request)
        resource = await plane_of(request).get(self.key_of(request))
        etag = f'"{resource.metadata.revision}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return JSONResponse(encode(resource), headers={"ETag": etag})

    async def replaced(self, request: Request, user: str = USER) -> Response:
        return await _replace(request, self.key_of(request), await read_json(request), user)

    async def patched(self, request: Request, user: str = USER) -> Response:
        key = self.key_of(request)
        standing = await plane_of(request).get(key)
        document = merged(encode(standing), await read_json(request))
        return await _replace(request, key, document, user)

    async def deleted(self, request: Request, user: str = USER) -> Response:
        return await _write(
            request, Change(verb=Verb.DELETE, key=self.key_of(request), if_revision=if_match(request)), user
        )


async def _list(request: Request, kind: Kind) -> Response:
    known_query(request, *(parameter["name"] for parameter in LIST_QUERY))
    ask = request.query_params
    since = whole_number(ask["since"], "since", 0, 2**53) if "since" in ask else None
    query = ListQuery(
        kind=kind.name,
        cluster=ask.get("cluster", ""),
        namespace=ask.get("namespace", ""),
        label_selector=ask.get("labelSelector", ""),
        field_selector=ask.get("fieldSelector", ""),
        limit=whole_number(ask.get("limit", "500"), "limit", 1, 5000),
        continue_after=ask.get("continue", ""),
    )
    plane = plane_of(request)
    if is_set(request, "watch"):
        await plane.list(replace(query, limit=1))  # a query with a fault is refused before the stream begins
        events = filtered(plane.watch(kind.name, since), query)
        return StreamingResponse(lines(events), media_type="application/x-ndjson")
    page = await plane.list(query)
    metadata = {"revision": page.revision, "continue": page.continue_after}
    return JSONResponse({"kind": "List", "metadata": metadata, "items": list(page.documents)})


async def _replace(request: Request, key: ObjectKey, document: Any, user: str) -> Response:
    resource = decode(document)
    if resource.key != key:
        raise InvalidInput(
            f"the document is {resource.key}, the URL names {key}",
            faults=[Fault("/metadata/name", "differs")],
        )
    revision = if_match(request) or resource.metadata.revision or None
    return await _write(
        request, Change(verb=Verb.REPLACE, key=key, resource=resource, if_revision=revision), user
    )


async def _write(request: Request, change: Change, user: str) -> Response:
    known_query(request, "dryRun")
    is_dry = is_set(request, "dryRun")
    applied = await plane_of(request).change(
        [change], actor=user, is_dry_run=is_dry, request=request_key(request)
    )
    (outcome,) = applied.outcomes
    headers = {"Causeway-Revision": str(applied.revision)}
    if outcome.resource is not None and change.verb is not Verb.DELETE:
        headers["ETag"] = f'"{outcome.resource.metadata.revision}"'
    body = encode(outcome.resource) if outcome.resource else {}
    return JSONResponse(body, status_code=201 if outcome.result == "created" else 200, headers=headers)


async def apply(request: Request, user: str = USER) -> Response:
    """Apply `items`, in one transaction."""
    return await _bulk(request, Verb.APPLY, user)


async def delete_all(request: Request, user: str = USER) -> Response:
    """Delete what `items` name, in one transaction."""
    return await _bulk(request, Verb.DELETE, user)


async def _bulk(request: Request, verb: Verb, user: str) -> Response:
    known_query(request, "dryRun")
    body = await read_json(request)
    if isinstance(body, dict) and (unknown := sorted(body.keys() - {"items"})):
        faults = [Fault(f"/{escaped(name)}", "unknown field; known: items") for name in unknown]
        raise InvalidInput("a bulk has one field, items; nothing was changed", faults=faults)
    changes = changes_of(body.get("items") if isinstance(body, dict) else None, verb)
    is_dry = is_set(request, "dryRun")
    key = request_key(request)
    return JSONResponse(
        _applied(await plane_of(request).change(changes, actor=user, is_dry_run=is_dry, request=key))
    )


def _applied(applied: Applied) -> dict[str, Any]:
    outcomes = [{"kind": o.key.kind, "path": o.key.path, "result": o.result} for o in applied.outcomes]
    return {"revision": applied.revision, "outcomes": outcomes}


async def rollout(request: Request, _user: str = USER) -> Response:
    """How far a revision has come; waits up to `wait` seconds (60 at most) for it to be enforced everywhere."""
    known_query(request, "wait")
    revision = whole_number(request.path_params["revision"], "revision", 0, 2**53)
    wait = _seconds(request.query_params.get("wait", "0"))
    newest = plane_of(request).hub.revision
    if revision > newest:
        raise NotFound(f"revision {revision} is not there yet; the newest is {newest}")
    found = await plane_of(request).rollout(revision, min(wait, 60))
    behind = [{"node": node, "why": why} for node, why in found.behind]
    body = {"revision": revision, "enforced": found.enforced, "behind": behind, "complete": found.is_complete}
    return JSONResponse({**body, "milliseconds": found.milliseconds})


def _seconds(text: str) -> float:
    if not SECONDS.fullmatch(text):
        raise InvalidInput(f"wait {shown(text)} is not a number of seconds")
    return float(text)


async def kinds(request: Request, _user: str = USER) -> Response:
    """What a client must know of every kind."""
    known_query(request)
    listed = [
        {
            "name": kind.name,
            "plural": kind.plural,
            "shortNames": list(kind.short_names),
            "scope": kind.scope.value,
            "readOnly": kind.is_read_only,
            "columns": [{"title": column.title, "wide": column.wide} for column in kind.columns],
        }
        for kind in KINDS
    ]
    return JSONResponse({"items": listed})


async def version(request: Request, _anyone: None = PUBLIC) -> Response:
    """The version that runs."""
    known_query(request)
    return JSONResponse({"version": request.app.version})
