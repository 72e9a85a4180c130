"""What the API tells Prometheus: requests by route and status, what is in flight, streams, the revision."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram

from api.rest.guard.limits import Limits
from controlplane.service import ControlPlane

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def registry_of(plane: ControlPlane, limits: Limits) -> CollectorRegistry:
    """A registry of one control plane's own facts."""
    registry = CollectorRegistry()
    Gauge("causeway_revision", "Newest revision", registry=registry).set_function(lambda: plane.hub.revision)
    streams = Gauge("causeway_streams", "Open streams", registry=registry)
    streams.set_function(lambda: plane.fanout.size)
    Gauge("causeway_objects", "Objects that stand", registry=registry).set_function(
        lambda: len(plane.hub.objects)
    )
    stale = Gauge(
        "causeway_database_stale_seconds", "Since the database was last seen; 0: now", registry=registry
    )
    stale.set_function(lambda: plane.feed.stale_seconds or 0)
    leads = Gauge("causeway_duties_leader", "1: this replica compacts and tidies for all", registry=registry)
    leads.set_function(lambda: plane.duties.epoch is not None)
    refused = Gauge("causeway_requests_refused", "Asked too often, ever", registry=registry)
    refused.set_function(lambda: limits.refused)
    return registry


class Measured:
    """ASGI middleware: the seconds of each request, until its answer begins."""

    def __init__(self, app: Any, registry: CollectorRegistry) -> None:
        self.app = app
        self.seconds = Histogram(
            "causeway_request_seconds", "Until the answer begins", ("route", "method", "status"), registry=registry, buckets=BUCKETS
        )  # fmt: skip
        self.in_flight = Gauge("causeway_requests_in_flight", "Requests not answered yet", registry=registry)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        is_waiting = True
        self.in_flight.inc()

        async def sending(message: Any) -> None:
            nonlocal is_waiting
            if message["type"] == "http.response.start" and is_waiting:
                is_waiting = False
                self.in_flight.dec()
                route = getattr(scope.get("route"), "path", "none")
                status = f"{message['status'] // 100}xx"
                self.seconds.labels(route, scope["method"], status).observe(time.perf_counter() - began)
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            if is_waiting:
                self.in_flight.dec()
