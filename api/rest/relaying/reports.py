"""The route by which a relay tells what many of its nodes enforce, in one request."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.rest.authentication import Permission, plane_of, require
from api.rest.bodies import known_query, read_json
from api.rest.nodes import report_in
from api.rest.relaying.behalf import node_behind
from api.rest.relaying.descriptions import REPORTS
from controlplane.intent import NodeReport, NodeSession
from federation.errors import CausewayError, Fault, Forbidden, InvalidInput, Unavailable

MEMBER = Depends(require(Permission.MEMBER))
MOST = 500
"""Reports of one request."""


def router() -> APIRouter:
    """/agent/v1/reports."""
    routes = APIRouter()
    routes.add_api_route("/agent/v1/reports", reports, methods=["POST"], openapi_extra=REPORTS)
    return routes


async def reports(request: Request, session: NodeSession = MEMBER) -> Response:
    """Keep each that is good, and say which is not; as long as the database is there."""
    if not session.relay or session.node:
        raise Forbidden(
            f"{session.cluster}/{session.node} is no relay: it reports for itself, at /agent/v1/report"
        )
    known_query(request)
    body = await read_json(request)
    listed = body.get("reports") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST:
        fault = Fault("/reports", f"a list of 1-{MOST} reports is needed")
        raise InvalidInput("the reports are not valid", faults=[fault])
    told: list[tuple[NodeSession, NodeReport]] = []
    refused: list[dict[str, Any]] = []
    for index, item in enumerate(listed):
        try:
            told.append(await _one(request, session, item))
        except Unavailable:
            raise
        except CausewayError as error:
            refused.append({"index": index, "code": error.code, "detail": error.message})
    plane = plane_of(request)
    await asyncio.gather(*(plane.report(node, report) for node, report in told))
    return JSONResponse({"refused": refused})


async def _one(request: Request, relay: NodeSession, item: Any) -> tuple[NodeSession, NodeReport]:
    if not isinstance(item, dict) or not isinstance(item.get("behalf"), str):
        raise InvalidInput("a report has an object with behalf, revision and faults")
    return await node_behind(request, relay, item["behalf"]), report_in(item)
