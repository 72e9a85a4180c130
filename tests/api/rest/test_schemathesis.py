"""Whatever is asked of any route, the answer is one that the OpenAPI document promises: never a 500, never a shape that it does not say.

CAUSEWAY_FUZZ_EXAMPLES sets how many requests of each kind are made up for each route.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from api.rest.app import application
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings

EXAMPLES = int(os.environ.get("CAUSEWAY_FUZZ_EXAMPLES", "2"))
ENDLESS = "/agent/v1/stream"
STANDING: dict[str, dict[str, Any]] = {
    "Cluster": {"prefixes": ["10.1.0.0/16"]},
    "Tier": {"order": 5},
    "GlobalNetworkPolicy": {"selector": "all()"},
    "NetworkPolicy": {"selector": "all()"},
    "GlobalNetworkSet": {"nets": ["10.0.0.0/8"]},
    "Endpoint": {"node": "n", "addresses": ["10.1.0.5"]},
}
PARTS = {"cluster": "c", "namespace": "ns"}
BY_THEMSELVES = {"Cluster": (), "Tier": (), "GlobalNetworkPolicy": (), "GlobalNetworkSet": ()}


class Served:
    """The application, with a control plane that opens and closes with its lifespan, a user, a node, and something that stands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inner: Any = None
        self.user = self.node = self.join_token = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.inner(scope, receive, send)
            return
        await receive()
        where = Settings(database_url=f"sqlite+aiosqlite:///{self.folder}/i.db")
        async with ControlPlane.open(where, SystemClock()) as plane:
            self.user = (await plane.access.create_token("fuzz")).text
            self.inner = application(plane)
            await self._fill()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _fill(self) -> None:
        transport, headers = httpx.ASGITransport(self.inner), {"Authorization": f"Bearer {self.user}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            items = [
                {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": "c", **({} if kind in BY_THEMSELVES else PARTS)}, "spec": spec}
                for kind, spec in STANDING.items()
            ]  # fmt: skip
            asked = {"cluster": "c", "uses": 1000}
            for path, body in (
                ("/api/v1/apply", {"items": items[:1]}),
                ("/api/v1/jointokens", asked),
            ):
                answer = await client.post(path, json=body)
                assert answer.is_success, answer.text
            self.join_token = answer.json()["token"]
            enrolled = {"token": self.join_token, "cluster": "c", "node": "n"}
            self.node = (await client.post("/agent/v1/join", json=enrolled)).json()["credential"]
            assert (await client.post("/api/v1/apply", json={"items": items})).is_success


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    app = Served(tmp_path_factory.mktemp("fuzz"))
    yield app
    schemathesis.python.asgi.shutdown_lifespans()


def stands(value: Any) -> bool:
    """Whether a value leaves anything in a URL: an empty list does not, and then what was wrong with it is not there."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return value is not None and (parts is None or (bool(parts) and all(stands(part) for part in parts)))


def aimed(case: Any, served: Served) -> dict[str, str]:
    """Half of what was made up is turned to what stands there, or it would never be found; nothing is asked that never ends."""
    assume(all(stands(value) for value in (case.query or {}).values()))
    endless = {"watch": r"true", "wait": r"[0-9.]+"}
    for name, pattern in endless.items():
        if name in (case.query or {}) and re.fullmatch(pattern, str(case.query[name]), re.IGNORECASE):
            case.query[name] = "false" if name == "watch" else "0"
    parts = case.path_parameters or {}
    if len(repr(parts)) % 2 and parts.keys() <= {"cluster", "namespace", "name"}:
        case.path_parameters = {name: PARTS.get(name, "c") for name in parts}
    if isinstance(case.body, dict) and isinstance(case.body.get("cluster"), str):
        known = {"cluster": "c", **({"token": served.join_token} if "token" in case.body else {})}
        case.body = {**case.body, **known} if len(case.body["cluster"]) % 2 else case.body
    is_of_node = case.path.startswith("/agent/v1/")
    return {"Authorization": f"Bearer {served.node if is_of_node else served.user}"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_every_answer_is_one_that_the_document_promises(served: Served, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", served)
    tried = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(strategy)
        def ask(case: Any) -> None:
            headers = aimed(case, served)
            case.call_and_validate(headers=headers, excluded_checks=[checks.positive_data_acceptance])
            tried.add(re.sub(r"s?/\{.*", "", case.path))

        with contextlib.suppress(Unsatisfiable):  # a route that takes nothing can be asked nothing wrong
            ask()
    assert len(tried) > 20
