"""Routes of agents, each for its own node only, and of what lets them in."""

import base64
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.rest.answers.streaming import STREAM_PATH, Streamed, takes_packed
from api.rest.authentication import Permission, has_tls, plane_of, require
from api.rest.bodies import known_query, read_json, whole_number
from api.rest.descriptions import (
    CREATE_TOKEN,
    JOIN,
    KEY,
    LIST_TOKENS,
    MAX_TTL,
    MAX_USES,
    REPORT,
    REVOKE_TOKEN,
    STREAM,
)
from api.rest.guard.limits import limits_of
from api.rest.relaying import behalf
from api.rest.trust.routes import given
from api.rest.trust.streaming import WhileGood
from controlplane.access.actor import Actor
from controlplane.intent import JoinRequest, JoinToken, NodeReport, NodeSession, TokenBounds
from federation.access.rights import Right
from federation.errors import Fault, Forbidden, InvalidInput, shown
from federation.resources.grammar import escaped

ROLES = ("node", "relay")
TOKEN_BOUNDS = ("role", "os", "prefix", "node")
TOKEN_FIELDS = ("cluster", "ttlSeconds", "uses", *TOKEN_BOUNDS)
T = TypeVar("T")
NETWORK, NODE, MEMBER, PUBLIC = (
    Depends(require(p)) for p in (Right.NETWORK, Permission.NODE, Permission.MEMBER, Permission.PUBLIC)
)


def router() -> APIRouter:
    """/agent/v1, and join tokens."""
    routes = APIRouter()
    for path, handler, method, code, said in (
        ("/agent/v1/join", join, "POST", 201, JOIN), (STREAM_PATH, stream, "GET", 200, STREAM), ("/agent/v1/key", publish_key, "PUT", 204, KEY),
        ("/agent/v1/report", report, "POST", 204, REPORT), ("/api/v1/jointokens", create_token, "POST", 201, CREATE_TOKEN),
        ("/api/v1/jointokens", list_tokens, "GET", 200, LIST_TOKENS), ("/api/v1/jointokens/{token_id}", revoke_token, "DELETE", 204, REVOKE_TOKEN),
    ):  # fmt: skip
        routes.add_api_route(path, handler, methods=[method], status_code=code, openapi_extra=said)
    return routes


async def join(request: Request, _anyone: None = PUBLIC) -> Response:
    """Enrol a node by its join token: for a signing request a certificate, where there is no TLS a credential, shown this once."""
    limits_of(request).admit_stranger(request)
    body = await _object(request, "token", "cluster", "node")
    wrong = [
        Fault(f"/{name}", "text is needed")
        for name in ("token", "cluster", "node", "os", "csr", "role")
        if not isinstance(body.get(name, ""), str)
    ]
    if (role := body.get("role", "node")) not in ROLES:
        wrong.append(Fault("/role", f"one of {', '.join(ROLES)} is needed"))
    addresses = _parsed(body, "addresses", ip_address, wrong)
    prefixes = _parsed(body, "podPrefixes", ip_network, wrong)
    if wrong:
        raise InvalidInput("the join request is not valid", faults=wrong)
    wanted = JoinRequest(
        token=body["token"],
        cluster=body["cluster"],
        node=body["node"],
        os=body.get("os", "linux"),
        addresses=addresses,  # type: ignore[arg-type]  # its Node is checked like any other document
        pod_prefixes=prefixes,  # type: ignore[arg-type]
        source=await behalf.source_of(request, body["cluster"]),
        role=role,
    )
    if (has_tls(request) or role == "relay") and not body.get("csr"):
        said = [Fault("/csr", "is needed: over TLS a node is given a certificate, no credential")]
        raise InvalidInput("the join request is not complete", faults=said)
    if body.get("csr"):
        return given(await plane_of(request).certificates.join(wanted, body["csr"]))
    return JSONResponse({"credential": await plane_of(request).join(wanted)}, status_code=201)


async def stream(request: Request, session: NodeSession = MEMBER) -> Response:
    """The stream of `federation.wire`."""
    asked = request.query_params.get("since")
    since = None if asked is None else whole_number(asked, "since", 0, 2**53)
    plane, is_packed = plane_of(request), takes_packed(request)
    if since is not None:
        await plane.reach(since)
    before = WhileGood(plane.certificates, session, request.query_params.get("trust"))
    return Streamed(plane.stream(session, since, is_packed=is_packed, before=before), is_packed=is_packed)


async def publish_key(request: Request, session: NodeSession = NODE) -> Response:
    """A node's WireGuard facts."""
    body = _own(session, await _object(request, "publicKey", "listenPort"))
    port = _number(body, "listenPort", 0, 1, 65535)
    await plane_of(request).publish_key(session, _key(body["publicKey"]), port)
    return Response(status_code=204)


async def report(request: Request, session: NodeSession = NODE) -> Response:
    """What a node's kernel enforces."""
    body = _own(session, await _object(request, "revision"))
    await plane_of(request).report(session, report_in(body))
    return Response(status_code=204)


def report_in(body: dict[str, Any]) -> NodeReport:
    """A report as it is written. Raises InvalidInput."""
    revision = _number(body, "revision", -1, 0, 2**53)
    return NodeReport(revision=revision, faults=_faults(body.get("faults", [])))


async def create_token(request: Request, actor: Actor = NETWORK) -> Response:
    """A join token, shown this once."""
    known_query(request)
    body = await _object(request, "cluster")
    wrong = [
        Fault(f"/{escaped(n)}", f"unknown field; known: {', '.join(TOKEN_FIELDS)}")
        for n in body
        if n not in TOKEN_FIELDS
    ]
    wrong += [Fault(f"/{name}", "text is needed") for name in ("cluster", *TOKEN_BOUNDS) if not isinstance(body.get(name, ""), str)]  # fmt: skip
    bounds = _bounds(body, wrong)
    if wrong:
        raise InvalidInput("the request is not valid", faults=wrong)
    ttl, uses = _number(body, "ttlSeconds", 3600, 1, MAX_TTL), _number(body, "uses", 1, 1, MAX_USES)
    token = await plane_of(request).create_join_token(body["cluster"], ttl, uses, actor=actor, bounds=bounds)
    return JSONResponse(
        {"id": token.id, "token": token.text, "cluster": token.cluster, "expires": token.expires}, 201
    )


async def list_tokens(request: Request, actor: Actor = NETWORK) -> Response:
    """All join tokens, without their secrets."""
    known_query(request)
    return JSONResponse(
        {"items": [_told(token) for token in await plane_of(request).list_join_tokens(actor)]}
    )


def _told(token: JoinToken) -> dict[str, Any]:
    bounds = {name: getattr(token.bounds, name) for name in TOKEN_BOUNDS}
    used = [{"node": f"{use.cluster}/{use.node}", "source": use.source, "at": use.at} for use in token.used]
    of_it = {"id": token.id, "cluster": token.cluster, "expires": token.expires, "usesLeft": token.uses_left}
    return {**of_it, **bounds, "createdBy": token.created_by, "created": token.created, "used": used}


def _bounds(body: dict[str, Any], wrong: list[Fault]) -> TokenBounds:
    found = {name: body[name] for name in TOKEN_BOUNDS if isinstance(body.get(name), str) and body[name]}
    for name, choices in (("role", ROLES), ("os", ("linux", "windows"))):
        if name in found and found[name] not in choices:
            wrong.append(Fault(f"/{name}", f"one of {', '.join(choices)} is needed"))
    if "prefix" in found:
        try:
            found["prefix"] = str(ip_network(found["prefix"]))
        except ValueError as error:
            wrong.append(Fault("/prefix", str(error)))
    return TokenBounds(**found)


async def revoke_token(request: Request, actor: Actor = NETWORK) -> Response:
    """Make a join token useless."""
    known_query(request)
    await plane_of(request).revoke_join_token(request.path_params["token_id"], actor=actor)
    return Response(status_code=204)


async def _object(request: Request, *needed: str) -> dict[str, Any]:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise InvalidInput("an object is needed", faults=[Fault("", "an object is needed")])
    missing = [
        Fault(f"/{name}", "is needed") for name in needed if not body.get(name) and body.get(name) != 0
    ]
    if missing:
        raise InvalidInput("the request is not complete", faults=missing)
    return body


def _number(body: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(
            f"{name} is not valid", faults=[Fault(f"/{name}", f"{shown(value)} is not in {low}-{high}")]
        )
    return value


def _parsed(body: dict[str, Any], name: str, parse: Callable[[str], T], faults: list[Fault]) -> tuple[T, ...]:
    """A list of texts, each parsed; a fault for each that is none."""
    listed, found = body.get(name, []), []
    if not isinstance(listed, list):
        faults.append(Fault(f"/{name}", "a list is needed"))
        return ()
    for index, text in enumerate(listed):
        try:
            found.append(parse(_text(text)))
        except ValueError as error:
            faults.append(Fault(f"/{name}/{index}", str(error)))
    return tuple(found)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text is needed, not {shown(value)}")
    return value


def _key(text: Any) -> str:
    try:
        is_key = isinstance(text, str) and len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        is_key = False
    if not is_key:
        fault = Fault("/publicKey", "is not the base64 of 32 bytes (X25519)")
        raise InvalidInput("the public key is not valid", faults=[fault])
    return str(text)


def _faults(listed: Any) -> tuple[tuple[str, str, str], ...]:
    names = ("key", "reason", "message")
    is_fine = isinstance(listed, list) and all(
        isinstance(f, dict) and all(isinstance(f.get(n), str) for n in names) for f in listed
    )
    if not is_fine:
        fault = Fault("/faults", "a list of objects with key, reason and message is needed")
        raise InvalidInput("the report is not valid", faults=[fault])
    return tuple((f["key"], f["reason"], f["message"]) for f in listed)


def _own(session: NodeSession, body: dict[str, Any]) -> dict[str, Any]:
    claimed = (body.get("cluster", session.cluster), body.get("node", session.node))
    if claimed != (session.cluster, session.node):
        raise Forbidden(
            f"this credential is of {session.cluster}/{session.node}, not {claimed[0]}/{claimed[1]}"
        )
    return body
