"""Who am I, API tokens, the audit log."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.rest.access.descriptions import APPROVE, CREATE, LIST, LOG, REVOKE, WHO
from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import known_query, read_json, whole_number
from controlplane.access.actor import Actor
from controlplane.store.access.audit import AuditQuery
from controlplane.store.access.tokens import MOST_SECONDS, ApiToken
from federation.access.rights import ROLES, Right
from federation.access.scopes import Grant, bounds_from, bounds_told
from federation.errors import Fault, InvalidInput, shown
from federation.resources.codec import encode
from federation.resources.grammar import escaped

ANYBODY, ACCESS, AUDIT, NETWORK = (
    Depends(require(p)) for p in (Permission.ANYBODY, Right.ACCESS, Right.AUDIT, Right.NETWORK)
)
FIELDS = {"name": str, "grants": list, "ttlSeconds": int}
BOUNDS = ("clusters", "namespaces", "tiers")
MOST_GRANTS, MOST_NAMES = 50, 500


def router() -> APIRouter:
    """/api/v1/whoami, /api/v1/apitokens, /api/v1/audit."""
    routes = APIRouter(prefix="/api/v1")
    for path, handler, method, code, said in (
        ("/whoami", whoami, "GET", 200, WHO), ("/apitokens", create, "POST", 201, CREATE), ("/apitokens", list_all, "GET", 200, LIST),
        ("/apitokens/{token_id}", revoke, "DELETE", 204, REVOKE), ("/audit", log, "GET", 200, LOG),
        ("/clusters/{name}/approve", approve, "POST", 200, APPROVE),
    ):  # fmt: skip
        routes.add_api_route(path, handler, methods=[method], status_code=code, openapi_extra=said)
    return routes


async def whoami(request: Request, actor: Actor = ANYBODY) -> Response:
    """The one who asks."""
    known_query(request)
    rights = [right.value for right in Right if actor.has(right)]
    return JSONResponse({"name": actor.name, "grants": _told(actor.grants), "rights": rights})


async def create(request: Request, actor: Actor = ACCESS) -> Response:
    """A token."""
    known_query(request)
    body = await read_json(request)
    if not isinstance(body, dict):
        raise InvalidInput("an object is needed", faults=[Fault("", "an object is needed")])
    faults = [
        Fault(f"/{escaped(n)}", f"unknown field; known: {', '.join(FIELDS)}") for n in body if n not in FIELDS
    ]
    faults += [
        Fault(f"/{name}", "is needed" if name not in body else f"{shown(body[name])} is not a {type_.__name__}")
        for name, type_ in FIELDS.items()
        if (name in body or name != "ttlSeconds") and type(body.get(name)) is not type_
    ]  # fmt: skip
    grants = _grants(body.get("grants"), faults)
    ttl = body.get("ttlSeconds")
    if type(ttl) is int and not 1 <= ttl <= MOST_SECONDS:
        faults.append(Fault("/ttlSeconds", f"{shown(ttl)} is not in 1-{MOST_SECONDS}"))
    if faults:
        raise InvalidInput("the request is not valid", faults=faults)
    token = await plane_of(request).access.create_token(
        body["name"], grants=grants, ttl_seconds=ttl, actor=actor
    )
    return JSONResponse({**_of(token), "token": token.text}, 201)


async def list_all(request: Request, actor: Actor = ACCESS) -> Response:
    """Tokens within the asker's own rights."""
    known_query(request)
    tokens = await plane_of(request).access.list_tokens(actor)
    return JSONResponse({"items": [_of(token) for token in tokens]})


async def revoke(request: Request, actor: Actor = ACCESS) -> Response:
    """Make one useless."""
    known_query(request)
    await plane_of(request).access.revoke_token(request.path_params["token_id"], actor=actor)
    return Response(status_code=204)


async def log(request: Request, actor: Actor = AUDIT) -> Response:
    """A page of the audit log: it is one, and only who may read all of it may read it."""
    actor.must(Right.AUDIT)
    known_query(request, "after", "limit", "actor", "action", "subject", "since")
    ask = request.query_params
    query = AuditQuery(
        after=whole_number(ask.get("after", "0"), "after", 0, 2**53),
        limit=whole_number(ask.get("limit", "500"), "limit", 1, 5000),
        actor=ask.get("actor", ""),
        action=ask.get("action", ""),
        subject=ask.get("subject", ""),
        since=_time(ask.get("since", "")),
    )
    entries, written, head = await plane_of(request).access.log(query)
    items = [{"sequence": e.sequence, **asdict(e.deed), "hash": e.hash} for e in entries]
    return JSONResponse({"items": items, "written": written, "head": head})


async def approve(request: Request, actor: Actor = NETWORK) -> Response:
    """Let a cluster in that another person asked for."""
    known_query(request)
    cluster = await plane_of(request).approve_cluster(request.path_params["name"], actor=actor)
    return JSONResponse(encode(cluster))


def _grants(listed: Any, faults: list[Fault]) -> tuple[Grant, ...]:
    if not isinstance(listed, list):
        return ()
    if not 1 <= len(listed) <= MOST_GRANTS:
        faults.append(Fault("/grants", f"1-{MOST_GRANTS} are needed"))
        return ()
    found = []
    for index, item in enumerate(listed):
        before = len(faults)
        _check_grant(item, f"/grants/{index}", faults)
        if len(faults) == before:
            found.append(Grant(item["role"], bounds_from(item)))
    return tuple(found)


def _check_grant(item: Any, at: str, faults: list[Fault]) -> None:
    if not isinstance(item, dict):
        faults.append(Fault(at, "an object is needed"))
        return
    if not isinstance(item.get("role"), str) or item["role"] not in ROLES:
        faults.append(Fault(f"{at}/role", f"{shown(item.get('role'))} is not one of {', '.join(ROLES)}"))
    for name, value in item.items():
        if name in BOUNDS:
            is_names = isinstance(value, list) and all(
                isinstance(n, str) and 0 < len(n) <= 253 for n in value
            )
            if not is_names or not 1 <= len(value) <= MOST_NAMES:
                faults.append(
                    Fault(f"{at}/{name}", f"a list of 1-{MOST_NAMES} names is needed; leave it out for all")
                )
        elif name != "role":
            faults.append(Fault(f"{at}/{escaped(name)}", f"unknown field; known: role, {', '.join(BOUNDS)}"))


def _told(grants: tuple[Grant, ...]) -> list[dict[str, Any]]:
    return [{"role": grant.role, **bounds_told(grant.bounds)} for grant in grants]


def _of(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id, "name": token.name, "grants": _told(token.grants), "expires": token.expires, "created": token.created,
        "createdBy": token.created_by,
    }  # fmt: skip


def _time(text: str) -> str:
    """A time as the log writes it. Raises InvalidInput."""
    if not text:
        return ""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"since {shown(text)} is not a time", hint="like 2026-01-31T12:00:00+00:00"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
