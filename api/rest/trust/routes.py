"""Routes of the certificate authority (users) and of certificates (nodes)."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import known_query, read_json
from api.rest.guard.limits import limits_of
from api.rest.trust.descriptions import CONFIRM, EXCHANGE, RECOVER, RENEW, REVOKE, ROTATE, STATUS, TRUST
from controlplane.access.actor import Actor
from controlplane.intent import NodeSession
from controlplane.pki import x509
from controlplane.pki.certificates import Issued
from controlplane.pki.rotation import STEPS, rotate
from federation.access.rights import Right
from federation.access.scopes import Place
from federation.errors import Fault, InvalidInput, Unauthenticated
from federation.resources.grammar import escaped

READ, NETWORK, AUTHORITY = (Depends(require(p)) for p in (Right.READ, Right.NETWORK, Right.AUTHORITY))
MEMBER, PUBLIC, CREDENTIAL = (
    Depends(require(p)) for p in (Permission.MEMBER, Permission.PUBLIC, Permission.NODE_CREDENTIAL)
)


def router() -> APIRouter:
    """/api/v1/ca, and what agents ask of it."""
    routes = APIRouter()
    for path, handler, method, code, said in (
        ("/api/v1/ca", trust, "GET", 200, TRUST), ("/api/v1/ca/status", status, "GET", 200, STATUS),
        ("/api/v1/ca/rotate", take_step, "POST", 200, ROTATE), ("/api/v1/ca/revoke", revoke, "POST", 204, REVOKE),
        ("/agent/v1/renew", renew, "POST", 201, RENEW), ("/agent/v1/exchange", exchange, "POST", 201, EXCHANGE),
        ("/agent/v1/recover", recover, "POST", 201, RECOVER), ("/agent/v1/trust", confirm, "POST", 204, CONFIRM),
    ):  # fmt: skip
        routes.add_api_route(path, handler, methods=[method], status_code=code, openapi_extra=said)
    return routes


async def trust(request: Request, _anyone: None = PUBLIC) -> Response:
    """The roots to trust: no secret, and nothing to believe before one of them was held against a pin."""
    known_query(request)
    authorities = plane_of(request).certificates.authorities
    bundle = authorities.trust.bundle
    hashes = list(x509.pins_of(bundle))
    issuers = [
        {"id": a.id, "domain": a.domain, "root": a.root, "intermediate": a.intermediate}
        for a in authorities.all
    ]
    content = {"bundle": bundle, "hashes": hashes, "serverHash": authorities.server_pin, "issuers": issuers}
    return JSONResponse(content)


async def status(request: Request, actor: Actor = READ) -> Response:
    """The authorities, and who depends on which."""
    known_query(request)
    certificates = plane_of(request).certificates
    items = [
        {
            "id": a.id,
            "state": a.state,
            "hash": a.pin,
            "created": a.created,
            "rootExpires": x509.expiry_of(a.root).isoformat(),
            "expires": x509.expiry_of(a.intermediate).isoformat(),
        }
        for a in certificates.authorities.all
    ]
    _ = certificates.authorities.issuing
    nodes = [
        {"node": h.node, "authority": h.authority, "expires": h.not_after, "trusts": h.trusts}
        for h in await certificates.holdings()
        if actor.may(Right.READ, Place(cluster=h.node.partition("/")[0]))
    ]
    return JSONResponse({"items": items, "nodes": nodes})


async def take_step(request: Request, actor: Actor = AUTHORITY) -> Response:
    """One step of a rotation."""
    actor.must(Right.AUTHORITY)
    known_query(request)
    body = await _record(request, {"step": str}, {"force": bool})
    if body["step"] not in STEPS:
        raise InvalidInput(
            "the step is not known", faults=[Fault("/step", f"one of {', '.join(STEPS)} is needed")]
        )
    plane = plane_of(request)
    done = await rotate(
        plane.certificates, body["step"], is_forced=body.get("force", False), now=plane.clock.now(), actor=actor
    )  # fmt: skip
    return JSONResponse({"done": done})


async def revoke(request: Request, actor: Actor = NETWORK) -> Response:
    """Void what a node has."""
    known_query(request)
    body = await _record(request, {"cluster": str, "node": str}, {})
    await plane_of(request).certificates.revoke(body["cluster"], body["node"], actor=actor)
    return Response(status_code=204)


async def renew(request: Request, session: NodeSession = MEMBER) -> Response:
    """A new certificate for a standing one."""
    if not session.serial:
        raise Unauthenticated("a credential is not renewed, but exchanged", hint="over TLS only")
    body = await _record(request, {"csr": str})
    proof = body.get("proof", "")
    if not isinstance(proof, str):
        raise InvalidInput("the request is not valid", faults=[Fault("/proof", "text is needed")])
    return given(await plane_of(request).certificates.renew(session, body["csr"], proof))


async def exchange(request: Request, session: NodeSession = CREDENTIAL) -> Response:
    """A certificate for a credential."""
    body = await _record(request, {"csr": str})
    return given(await plane_of(request).certificates.exchange(session, body["csr"]))


async def recover(request: Request, _anyone: None = PUBLIC) -> Response:
    """A new certificate for an expired one; the request's signature proves that its key is there."""
    limits_of(request).admit_stranger(request)
    body = await _record(request, {"certificate": str, "csr": str})
    return given(await plane_of(request).certificates.recover(body["certificate"], body["csr"]))


async def confirm(request: Request, session: NodeSession = MEMBER) -> Response:
    """A node has a trust bundle."""
    body = await _record(request, {"digest": str})
    await plane_of(request).certificates.confirm(session, body["digest"][:64])
    return Response(status_code=204)


def given(issued: Issued) -> Response:
    """What a node is answered that was given a certificate."""
    content = {
        "certificate": issued.chain,
        "serial": issued.serial,
        "notBefore": issued.not_before.isoformat(),
        "notAfter": issued.not_after.isoformat(),
        "issued": issued.issued.isoformat(),
        "bundle": issued.bundle,
        "issuer": issued.issuer,
    }
    return JSONResponse(content, status_code=201)


async def _record(request: Request, needed: dict[str, type], optional: dict[str, type] | None = None) -> dict[str, Any]:  # fmt: skip
    """An object with these fields; with `optional` given, with no others."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise InvalidInput("an object is needed", faults=[Fault("", "an object is needed")])
    known = {**needed, **(optional or {})}
    wrong = [Fault(f"/{name}", "is needed") for name in needed if not body.get(name)]
    for name, value in body.items():
        if name not in known:
            if optional is not None:
                wrong.append(Fault(f"/{escaped(name)}", f"unknown field; known: {', '.join(known)}"))
        elif body.get(name) and not isinstance(value, known[name]):
            wrong.append(
                Fault(f"/{name}", "text is needed" if known[name] is str else "true or false is needed")
            )
        elif known[name] is bool and not isinstance(value, bool):
            wrong.append(Fault(f"/{name}", "true or false is needed"))
    if wrong:
        raise InvalidInput("the request is not valid", faults=wrong)
    return body
