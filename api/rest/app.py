"""The application: routes, errors, health and metrics of one control plane."""

from functools import partial

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from api.console import routes as console
from api.rest import counting, nodes, openapi, problems, resources
from api.rest import metrics as metrics_of
from api.rest.access import routes as access
from api.rest.answers import staleness
from api.rest.authentication import Permission, plane_of, require
from api.rest.descriptions import HEALTH, METRICS, READINESS
from api.rest.guard.limits import Limits, LimitSettings
from api.rest.guard.requests import Guarded
from api.rest.relaying import reports as relays
from api.rest.trust import routes as trust
from controlplane.service import ControlPlane
from federation.errors import CausewayError

PUBLIC = Depends(require(Permission.PUBLIC))


def application(plane: ControlPlane, limits: LimitSettings = LimitSettings()) -> FastAPI:
    """The ASGI application that serves a control plane, which its caller opens and closes."""
    app = FastAPI(title="Causeway", version="0.1.0", docs_url=None, redoc_url=None)
    app.state.plane = plane
    app.state.limits = Limits(plane.clock, limits)
    app.state.metrics = metrics_of.registry_of(plane, app.state.limits)
    app.add_middleware(metrics_of.Measured, registry=app.state.metrics)
    app.add_middleware(staleness.Marked, plane=plane)
    app.add_middleware(Guarded)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's own way to replace it
    app.add_exception_handler(CausewayError, problems.on_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(Exception, problems.on_error)
    app.include_router(resources.router())
    app.include_router(nodes.router())
    app.include_router(trust.router())
    app.include_router(counting.router())
    app.include_router(relays.router())
    app.include_router(access.router())
    app.include_router(console.router())
    for path, handler, said in (
        ("/healthz", healthz, HEALTH),
        ("/readyz", readyz, READINESS),
        ("/metrics", metrics, METRICS),
    ):
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            openapi_extra=said,
            response_class=Response if said is METRICS else JSONResponse,
        )
    return app


async def healthz(_anyone: None = PUBLIC) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request, _anyone: None = PUBLIC) -> Response:
    """What stands can be told: `stale` while the database is away, for then it is what was known last. Agents' streams go on as well."""
    plane = plane_of(request)
    status = "ready" if plane.feed.stale_seconds is None else "stale"
    return JSONResponse({"status": status, "revision": plane.hub.revision})


async def metrics(request: Request, _anyone: None = PUBLIC) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), media_type="text/plain; version=0.0.4")
