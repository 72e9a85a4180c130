"""Routes of every registered kind: list, watch, create, read, replace, patch, delete; and bulk. No code per kind."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
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
from controlplane.access.actor import Actor
from controlplane.intent import Applied, Change, ListQuery, Page, Verb
from controlplane.service import ControlPlane
from controlplane.store.queries import key_of_path
from federation.access.rights import Right
from federation.access.scopes import Place, bounds_told
from federation.doors.documents import POLICY_KINDS
from federation.errors import Fault, InvalidInput, NotFound, shown
from federation.kinds.registry import KINDS
from federation.resources.codec import decode, encode
from federation.resources.grammar import escaped
from federation.resources.kind import Kind
from federation.resources.metadata import ObjectKey, Scope

READ, ANYBODY, PUBLIC = (Depends(require(p)) for p in (Right.READ, Permission.ANYBODY, Permission.PUBLIC))
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?", re.ASCII)
PART = 200
"""Documents that are sent at once."""
REPORTED = frozenset({"Node", *POLICY_KINDS})
"""Kinds whose objects, read one by one, also say what nodes have reported, which no revision counts."""
HIDDEN = {"node": "-", "why": "a node that you may not see"}
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
    handlers = _readers(kind) | _writers(kind)
    many, one = f"/{kind.plural}", f"/{kind.plural}{PATHS[kind.scope]}"
    in_path = [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
        for n in re.findall(r"{(\w+)}", one)
    ]
    for path, method, handler in (
        (many, "GET", handlers["listed"]),
        (many, "POST", handlers["created"]),
        (one, "GET", handlers["read"]),
        (one, "PUT", handlers["replaced"]),
        (one, "PATCH", handlers["patched"]),
        (one, "DELETE", handlers["deleted"]),
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


def _key_of(kind: Kind, request: Request) -> ObjectKey:
    return key_of_path(kind.name, "/".join(request.path_params.values()))


def _readers(kind: Kind) -> dict[str, Any]:
    """The handlers of a kind that change nothing."""

    async def listed(request: Request, actor: Actor = READ) -> Response:
        return await _list(request, kind, actor)

    async def read(request: Request, actor: Actor = READ) -> Response:
        known_query(request)
        resource = await plane_of(request).get(_key_of(kind, request), actor)
        etag = f'"{resource.metadata.revision}"'
        if kind.name not in REPORTED and request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return JSONResponse(encode(resource), headers={"ETag": etag})

    return {"listed": listed, "read": read}


def _writers(kind: Kind) -> dict[str, Any]:
    """The handlers of a kind that write."""
    may_write = Depends(require(kind.right))

    async def created(request: Request, actor: Actor = may_write) -> Response:
        document = await read_json(request)
        resource = decode(document)
        if resource.kind != kind.name:
            raise InvalidInput("wrong kind", faults=[Fault("/kind", f"{kind.name} is needed here")])
        return await _write(request, Change(verb=Verb.CREATE, key=resource.key, resource=resource), actor)

    async def replaced(request: Request, actor: Actor = may_write) -> Response:
        return await _replace(request, _key_of(kind, request), await read_json(request), actor)

    async def patched(request: Request, actor: Actor = may_write) -> Response:
        key = _key_of(kind, request)
        standing = await plane_of(request).get(key, actor)
        document = merged(encode(standing), await read_json(request))
        return await _replace(request, key, document, actor)

    async def deleted(request: Request, actor: Actor = may_write) -> Response:
        change = Change(verb=Verb.DELETE, key=_key_of(kind, request), if_revision=if_match(request))
        return await _write(request, change, actor)

    return {"created": created, "replaced": replaced, "patched": patched, "deleted": deleted}


async def _list(request: Request, kind: Kind, actor: Actor) -> Response:
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
        await plane.list(
            replace(query, limit=1), actor
        )  # a query with a fault is refused before the stream begins
        events = filtered(plane.watch(kind.name, since), query, actor.sees)
        return StreamingResponse(lines(events), media_type="application/x-ndjson")
    page = await plane.list(query, actor)
    headers = {"ETag": etag} if (etag := _list_etag(plane, kind, actor)) else {}
    if etag and request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if len(page.texts) <= PART:
        return Response(
            b"".join([part async for part in _page(page)]), media_type="application/json", headers=headers
        )
    return StreamingResponse(_page(page), media_type="application/json", headers=headers)


def _list_etag(plane: ControlPlane, kind: Kind, actor: Actor) -> str:
    """Of all that an actor may see of a kind; empty for nodes, whose reports come without a revision."""
    if kind.name == "Node":
        return ""
    grants = sorted(json.dumps([grant.role, bounds_told(grant.bounds)]) for grant in actor.grants)
    seen = hashlib.sha256("".join(grants).encode()).hexdigest()[:16]
    return f'W/"{plane.hub.changed_at(kind.name)}-{seen}"'


async def _page(page: Page) -> AsyncIterator[bytes]:
    """A list's JSON, in parts: who reads slowly holds only what was not sent yet."""
    metadata = {"revision": page.revision, "continue": page.continue_after}
    yield b'{"kind":"List","metadata":' + json.dumps(metadata).encode() + b',"items":['
    for at in range(0, len(page.texts), PART):
        yield (b"," if at else b"") + b",".join(page.texts[at : at + PART])
    yield b"]}"


async def _replace(request: Request, key: ObjectKey, document: Any, actor: Actor) -> Response:
    resource = decode(document)
    if resource.key != key:
        raise InvalidInput(
            f"the document is {resource.key}, the URL names {key}",
            faults=[Fault("/metadata/name", "differs")],
        )
    revision = if_match(request) or resource.metadata.revision or None
    return await _write(
        request, Change(verb=Verb.REPLACE, key=key, resource=resource, if_revision=revision), actor
    )


async def _write(request: Request, change: Change, actor: Actor) -> Response:
    known_query(request, "dryRun")
    is_dry = is_set(request, "dryRun")
    applied = await plane_of(request).change(
        [change], actor=actor, is_dry_run=is_dry, request=request_key(request)
    )
    (outcome,) = applied.outcomes
    headers = {"Causeway-Revision": str(applied.revision)}
    if outcome.resource is not None and change.verb is not Verb.DELETE:
        headers["ETag"] = f'"{outcome.resource.metadata.revision}"'
    body = encode(outcome.resource) if outcome.resource else {}
    return JSONResponse(body, status_code=201 if outcome.result == "created" else 200, headers=headers)


async def apply(request: Request, actor: Actor = ANYBODY) -> Response:
    """Apply `items`, in one transaction."""
    return await _bulk(request, Verb.APPLY, actor)


async def delete_all(request: Request, actor: Actor = ANYBODY) -> Response:
    """Delete what `items` name, in one transaction."""
    return await _bulk(request, Verb.DELETE, actor)


async def _bulk(request: Request, verb: Verb, actor: Actor) -> Response:
    known_query(request, "dryRun")
    body = await read_json(request)
    if isinstance(body, dict) and (unknown := sorted(body.keys() - {"items"})):
        faults = [Fault(f"/{escaped(name)}", "unknown field; known: items") for name in unknown]
        raise InvalidInput("a bulk has one field, items; nothing was changed", faults=faults)
    changes = changes_of(body.get("items") if isinstance(body, dict) else None, verb)
    is_dry = is_set(request, "dryRun")
    key = request_key(request)
    return JSONResponse(
        _applied(await plane_of(request).change(changes, actor=actor, is_dry_run=is_dry, request=key))
    )


def _applied(applied: Applied) -> dict[str, Any]:
    outcomes = [{"kind": o.key.kind, "path": o.key.path, "result": o.result} for o in applied.outcomes]
    return {"revision": applied.revision, "outcomes": outcomes}


async def rollout(request: Request, actor: Actor = READ) -> Response:
    """How far a revision has come; waits up to `wait` seconds (60 at most) for it to be enforced everywhere."""
    known_query(request, "wait")
    revision = whole_number(request.path_params["revision"], "revision", 0, 2**53)
    wait = _seconds(request.query_params.get("wait", "0"))
    newest = plane_of(request).hub.revision
    if revision > newest:
        raise NotFound(f"revision {revision} is not there yet; the newest is {newest}")
    found = await plane_of(request).rollout(revision, min(wait, 60))
    shows = [_shows(actor, node) for node, _ in found.behind]
    behind = [
        {"node": node, "why": why} if is_shown else HIDDEN
        for is_shown, (node, why) in zip(shows, found.behind, strict=True)
    ]
    enforced = [node if _shows(actor, node) else HIDDEN["node"] for node in found.enforced]
    body = {"revision": revision, "enforced": enforced, "behind": behind, "complete": found.is_complete}
    return JSONResponse({**body, "milliseconds": found.milliseconds})


def _shows(actor: Actor, node: str) -> bool:
    return actor.may(Right.READ, Place(cluster=node.partition("/")[0]))


def _seconds(text: str) -> float:
    if not SECONDS.fullmatch(text):
        raise InvalidInput(f"wait {shown(text)} is not a number of seconds")
    return float(text)


async def kinds(request: Request, _actor: Actor = ANYBODY) -> Response:
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
