"""Routes of agents, each for its own node only, and of what lets them in."""

import base64
from ipaddress import ip_address, ip_network
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import read_json
from controlplane.intent import JoinRequest, NodeReport, NodeSession
from federation.errors import Fault, Forbidden, InvalidInput

USER, NODE, PUBLIC = (Depends(require(p)) for p in (Permission.USER, Permission.NODE, Permission.PUBLIC))


def router() -> APIRouter:
    """/agent/v1, and join tokens."""
    routes = APIRouter()
    routes.add_api_route("/agent/v1/join", join, methods=["POST"])
    routes.add_api_route("/agent/v1/stream", stream, methods=["GET"])
    routes.add_api_route("/agent/v1/key", publish_key, methods=["PUT"])
    routes.add_api_route("/agent/v1/report", report, methods=["POST"])
    routes.add_api_route("/api/v1/jointokens", create_token, methods=["POST"], status_code=201)
    routes.add_api_route("/api/v1/jointokens", list_tokens, methods=["GET"])
    routes.add_api_route("/api/v1/jointokens/{token_id}", revoke_token, methods=["DELETE"])
    return routes


async def join(request: Request, _anyone: None = PUBLIC) -> Response:
    """Enrol a node by its join token; the credential is shown this once."""
    body = await _object(request, "token", "cluster", "node")
    wrong = [
        Fault(f"/{name}", "text is needed")
        for name in ("token", "cluster", "node", "os")
        if not isinstance(body.get(name, ""), str)
    ]
    wrong += [
        Fault(f"/{name}", "a list is needed")
        for name in ("addresses", "podPrefixes")
        if not isinstance(body.get(name, []), list)
    ]
    if wrong:
        raise InvalidInput("the join request is not valid", faults=wrong)
    try:
        wanted = JoinRequest(
            token=body["token"],
            cluster=body["cluster"],
            node=body["node"],
            os=body.get("os", "linux"),
            addresses=tuple(ip_address(a) for a in body.get("addresses", ())),  # type: ignore[misc]  # checked by the codec
            pod_prefixes=tuple(ip_network(p) for p in body.get("podPrefixes", ())),  # type: ignore[misc]
        )
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"the join request is not valid: {error}") from error
    return JSONResponse({"credential": await plane_of(request).join(wanted)}, status_code=201)


async def stream(request: Request, since: int | None = None, session: NodeSession = NODE) -> Response:
    """The stream of `federation.wire`."""
    return StreamingResponse(plane_of(request).stream(session, since), media_type="application/x-ndjson")


async def publish_key(request: Request, session: NodeSession = NODE) -> Response:
    """A node's WireGuard facts."""
    body = _own(session, await _object(request, "publicKey", "listenPort"))
    port = _number(body, "listenPort", 0, 1, 65535)
    await plane_of(request).publish_key(session, _key(body["publicKey"]), port)
    return Response(status_code=204)


async def report(request: Request, session: NodeSession = NODE) -> Response:
    """What a node's kernel enforces."""
    body = _own(session, await _object(request, "revision"))
    revision = _number(body, "revision", 0, 0, 2**53)
    await plane_of(request).report(
        session, NodeReport(revision=revision, faults=_faults(body.get("faults", [])))
    )
    return Response(status_code=204)


async def create_token(request: Request, user: str = USER) -> Response:
    """A join token, shown this once."""
    body = await _object(request, "cluster")
    ttl, uses = _number(body, "ttlSeconds", 3600, 1, 366 * 86400), _number(body, "uses", 1, 1, 100_000)
    token = await plane_of(request).create_join_token(str(body["cluster"]), ttl, uses, actor=user)
    return JSONResponse(
        {"id": token.id, "token": token.text, "cluster": token.cluster, "expires": token.expires}, 201
    )


async def list_tokens(request: Request, _user: str = USER) -> Response:
    """All join tokens, without their secrets."""
    tokens = await plane_of(request).list_join_tokens()
    return JSONResponse(
        {
            "items": [
                {"id": t.id, "cluster": t.cluster, "expires": t.expires, "usesLeft": t.uses_left}
                for t in tokens
            ]
        }
    )


async def revoke_token(request: Request, token_id: str, user: str = USER) -> Response:
    """Make a join token useless."""
    await plane_of(request).revoke_join_token(token_id, actor=user)
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
            f"{name} is not valid", faults=[Fault(f"/{name}", f"{value!r} is not in {low}-{high}")]
        )
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
