"""The application of a relay: the agents' routes as the control plane has them, health and metrics; nothing of users."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.exceptions import HTTPException

from api.rest import counting, nodes, problems
from api.rest.answers import staleness
from api.rest.answers.streaming import STREAM_PATH
from api.rest.authentication import Permission, require
from api.rest.guard.limits import Limits, LimitSettings
from api.rest.guard.requests import Guarded
from api.rest.metrics import Measured
from api.rest.trust import routes as trust
from federation.errors import CausewayError

PUBLIC = Depends(require(Permission.PUBLIC))
SERVED = frozenset(
    {
        STREAM_PATH, "/agent/v1/key", "/agent/v1/report", "/agent/v1/counts", "/agent/v1/join", "/agent/v1/renew", "/agent/v1/recover",
        "/agent/v1/trust", "/api/v1/ca",
    }
)  # fmt: skip
"""A bearer credential of before TLS is exchanged at the control plane."""


def relay_application(plane: Any) -> FastAPI:
    """The ASGI application that serves a relay's plane (`api.relay.plane.RelayPlane`), which its caller runs."""
    app = FastAPI(title="Causeway relay", version="0.1.0", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.plane = plane
    app.state.limits = Limits(plane.clock, LimitSettings())
    app.state.metrics = _registry_of(plane)
    app.add_middleware(Measured, registry=app.state.metrics)
    app.add_middleware(staleness.Marked, plane=plane)
    app.add_middleware(Guarded)
    app.add_exception_handler(CausewayError, problems.on_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(Exception, problems.on_error)
    for router in (nodes.router(), trust.router(), counting.router()):
        app.include_router(_served(router))
    app.add_api_route("/healthz", healthz, methods=["GET"])
    app.add_api_route("/readyz", readyz, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])
    return app


async def healthz(_anyone: None = PUBLIC) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request, _anyone: None = PUBLIC) -> Response:
    """Nodes can be served; `stale` while the control plane is away. Raises Unavailable when they cannot."""
    plane = request.app.state.plane
    plane.certificates.must_serve()
    status = "ready" if plane.feed.stale_seconds is None else "stale"
    return JSONResponse({"status": status, "revision": plane.hub.revision})


async def metrics(request: Request, _anyone: None = PUBLIC) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), media_type="text/plain; version=0.0.4")


def _served(router: APIRouter) -> APIRouter:
    """Of a router's routes those that a relay has."""
    router.routes = [route for route in router.routes if getattr(route, "path", "") in SERVED]
    return router


def _registry_of(plane: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    for name, said, ask in (
        ("causeway_revision", "Newest revision", lambda: plane.hub.revision),
        ("causeway_streams", "Open streams", lambda: plane.fanout.size),
        ("causeway_objects", "Objects that stand", lambda: len(plane.hub.objects)),
        ("causeway_relay_stale_seconds", "Since the control plane was last heard; 0: now", lambda: plane.feed.stale_seconds or 0),
        ("causeway_relay_undelivered_nodes", "Nodes of which something is to be told", lambda: plane.delivery.size),
        ("causeway_relay_disk_fault", "1: what came last is not on disk", lambda: bool(plane.disk.fault)),
    ):  # fmt: skip
        Gauge(name, said, registry=registry).set_function(ask)
    return registry
