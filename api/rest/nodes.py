"""Routes of agents, each for its own node only, and of what lets them in."""

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
    await plane_of(request).publish_key(session, str(body["publicKey"]), int(body["listenPort"]))
    return Response(status_code=204)


async def report(request: Request, session: NodeSession = NODE) -> Response:
    """What a node's kernel enforces."""
    body = _own(session, await _object(request, "revision"))
    faults = tuple((str(f["key"]), str(f["reason"]), str(f["message"])) for f in body.get("faults", ()))
    await plane_of(request).report(session, NodeReport(revision=int(body["revision"]), faults=faults))
    return Response(status_code=204)


async def create_token(request: Request, user: str = USER) -> Response:
    """A join token, shown this once."""
    body = await _object(request, "cluster")
    ttl, uses = int(body.get("ttlSeconds", 3600)), int(body.get("uses", 1))
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


def _own(session: NodeSession, body: dict[str, Any]) -> dict[str, Any]:
    claimed = (body.get("cluster", session.cluster), body.get("node", session.node))
    if claimed != (session.cluster, session.node):
        raise Forbidden(
            f"this credential is of {session.cluster}/{session.node}, not {claimed[0]}/{claimed[1]}"
        )
    return body
