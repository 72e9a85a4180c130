"""Routes of what rules have counted: nodes tell, users ask."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import known_query, read_json
from api.rest.descriptions import COUNTS, RULE_COUNTS
from controlplane.access.actor import Actor
from controlplane.intent import NodeSession, RuleCount
from controlplane.store.queries import key_of_path
from federation.access.rights import Right
from federation.doors.documents import POLICY_KINDS
from federation.errors import Fault, InvalidInput, shown

MOST = 1000
"""Rules in one telling."""
MOST_COUNTED = 2**62
READ, NODE = (Depends(require(p)) for p in (Right.READ, Permission.NODE))


def router() -> APIRouter:
    """/agent/v1/counts and /api/v1/rulecounts."""
    routes = APIRouter()
    routes.add_api_route("/agent/v1/counts", told, methods=["POST"], status_code=204, openapi_extra=COUNTS)
    routes.add_api_route("/api/v1/rulecounts", asked, methods=["GET"], openapi_extra=RULE_COUNTS)
    return routes


async def told(request: Request, session: NodeSession = NODE) -> Response:
    """Totals of a node's rules that have changed."""
    body = await read_json(request)
    listed = body.get("counts") if isinstance(body, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST:
        fault = Fault("/counts", f"a list of {MOST} counts at most is needed")
        raise InvalidInput("the counts are not valid", faults=[fault])
    faults: list[Fault] = []
    counts = [count for n, item in enumerate(listed) if (count := _count(item, n, faults))]
    if faults:
        raise InvalidInput("the counts are not valid", faults=faults)
    await plane_of(request).count(session, counts)
    return Response(status_code=204)


async def asked(request: Request, actor: Actor = READ) -> Response:
    """Sums over all nodes, of one policy."""
    known_query(request, "kind", "policy")
    kind, path = (request.query_params.get(name, "") for name in ("kind", "policy"))
    if kind not in POLICY_KINDS:
        raise InvalidInput(
            f"kind {shown(kind)} is not a policy's", hint=f"one of {', '.join(sorted(POLICY_KINDS))}"
        )
    counts, nodes = await plane_of(request).rule_counts(kind, path, actor)
    items = [{"section": c.section, "rule": c.rule, "packets": c.packets, "bytes": c.bytes} for c in counts]
    return JSONResponse({"items": items, "nodes": nodes})


def _count(item: Any, place: int, faults: list[Fault]) -> RuleCount | None:
    if not isinstance(item, dict):
        faults.append(Fault(f"/counts/{place}", f"an object is needed, not {shown(item)}"))
        return None
    before = len(faults)
    for name in ("kind", "policy", "section"):
        if not isinstance(item.get(name), str) or len(item[name]) > 800:
            faults.append(Fault(f"/counts/{place}/{name}", "text is needed"))
    for name, most in (("rule", 2**31 - 1), ("packets", MOST_COUNTED), ("bytes", MOST_COUNTED)):
        value = item.get(name)
        if type(value) is not int or not 0 <= value <= most:
            faults.append(Fault(f"/counts/{place}/{name}", f"{shown(value)} is not in 0-{most}"))
    if len(faults) > before:
        return None
    if item["kind"] not in POLICY_KINDS or len(item["section"]) > 40:
        faults.append(Fault(f"/counts/{place}", f"{shown(item['kind'])} has no such rules"))
        return None
    try:
        policy = key_of_path(item["kind"], item["policy"])
    except InvalidInput as error:
        faults.append(Fault(f"/counts/{place}/policy", error.message))
        return None
    return RuleCount(
        policy=policy,
        section=item["section"],
        rule=item["rule"],
        packets=item["packets"],
        bytes=item["bytes"],
    )
