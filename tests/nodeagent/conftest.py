"""Fakes of an agent's surroundings: time that tests move, a control plane that says what they tell it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation import wire
from federation.errors import CausewayError, Unavailable
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.reconcile import Drivers
from nodeagent.settings import AgentSettings


class FakeClock:
    """Time stands still until `advance`; chance always says `chance`. `waits` are all that was asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.chance = 1.0
        self.waits: list[float] = []
        self.moved = asyncio.Event()
        self.asked = asyncio.Event()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def fraction(self) -> float:
        return self.chance

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.moved.set()
        self.moved = asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.asked.set()
        deadline = self.seconds + seconds
        while not event.is_set() and self.seconds < deadline:
            races = [asyncio.ensure_future(e.wait()) for e in (event, self.moved)]
            try:
                await asyncio.wait(races, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for race in races:
                    race.cancel()

    async def asked_for(self, seconds: float) -> None:
        """Return when somebody waits for so long."""
        while seconds not in self.waits:
            self.asked.clear()
            await asyncio.wait_for(self.asked.wait(), 5)


class FakeChannel:
    """ControlChannel of which the test holds the other end."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[wire.Message | CausewayError | None] = asyncio.Queue()
        """What the streams say next; an error breaks the stream, None ends it."""
        self.asked: asyncio.Queue[int | None] = asyncio.Queue()
        """`since` of every stream that was opened."""
        self.reports: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.keys: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.was_told = asyncio.Event()
        """Set when counts came, taken or not."""
        self.counts: asyncio.Queue[Any] = asyncio.Queue()
        self.refusal: CausewayError | None = None
        """What reports and keys are answered with."""
        self.attempts = 0

    async def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        self.asked.put_nowait(since)
        while (said := await self.lines.get()) is not None:
            if isinstance(said, CausewayError):
                raise said
            yield said

    async def publish_key(self, public_key: str, listen_port: int) -> None:
        self._answer()
        self.keys.put_nowait((public_key, listen_port))

    async def report(self, revision: int, faults: Any) -> None:
        self._answer()
        self.reports.put_nowait((revision, faults))

    async def count(self, counts: Any) -> None:
        self.was_told.set()
        self._answer()
        self.counts.put_nowait(counts)

    def say(self, *messages: wire.Message | CausewayError | None) -> None:
        for message in messages:
            self.lines.put_nowait(message)

    def go_away(self) -> None:
        self.say(Unavailable("the line is cut"))

    def _answer(self) -> None:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
async def drivers() -> Drivers:
    return Drivers(policy=FakeDriver(), tunnels=FakeDriver(), routes=FakeDriver())


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return AgentSettings(server="http://c", cluster="dc1", node="n1", state_dir=tmp_path)


Documents = dict[str, dict[str, Any]]


def _document(kind: str, path: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    *places, name = path.split("/")
    meta = dict(zip(("cluster", "namespace"), places, strict=False)) | {"name": name}
    meta["labels"] = more.pop("labels", {})
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": meta, "spec": spec, **more}


def _node(cluster: str, second: int, **spec: Any) -> dict[str, Any]:
    known = {"addresses": [f"192.0.2.{second}"], "podPrefixes": [f"10.{second}.1.0/24"], **spec}
    return _document("Node", f"{cluster}/n1", known, status={"tunnelAddress": f"100.64.0.{second}"})


def _endpoint(path: str, address: str, number: int, **more: Any) -> dict[str, Any]:
    spec = {"node": "n1", "addresses": [address], "interface": f"veth{number}"}
    labels = {"app": path.split("/")[-1]}
    return _document("Endpoint", path, spec, labels=labels, status={"identity": number}, **more)


def _identity(number: int, cluster: str, app: str) -> dict[str, Any]:
    labels = {"app": app, "causeway.dev/cluster": cluster, "projectcalico.org/namespace": "shop"}
    return _document("Identity", str(number), {"number": number, "labels": labels})


def _policy(selector: str, action: str) -> dict[str, Any]:
    rule = {"action": action, "protocol": "TCP", "source": {"selector": selector}}
    return _document(
        "GlobalNetworkPolicy", "db", {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [rule]}
    )


@pytest.fixture(scope="session")
def worlds() -> dict[str, list[dict[str, Any]]]:
    """Named whole worlds, as the control plane shows them to node dc1/n1."""
    key = {"publicKey": "k" * 43 + "=", "listenPort": 51820}
    alone = [
        _document("Cluster", "dc1", {"prefixes": ["10.10.0.0/16"]}),
        _node("dc1", 10),
        _identity(300, "dc1", "db"),
        _endpoint("dc1/shop/db", "10.10.1.1", 300),
    ]
    other = [
        _document("Cluster", "aws1", {"prefixes": ["10.20.0.0/16"]}),
        _node("aws1", 20, wireguard=key),
        _identity(301, "aws1", "web"),
        _endpoint("aws1/shop/web", "10.20.1.1", 301),
    ]
    link = _document("Link", "dc1-aws1", {"clusters": ["dc1", "aws1"]})
    linked = [*alone, *other, link]
    moved = [
        _endpoint("dc1/shop/db", "10.10.1.9", 300) if d["metadata"]["name"] == "db" else d for d in linked
    ]
    twice = [*linked, _identity(302, "dc1", "spy"), _endpoint("dc1/shop/spy", "10.10.1.1", 302)]
    space = {
        "selector": "app == 'db'",
        "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"namespaceSelector": "team == 'a'"}}],
    }
    by_team = [*linked, _document("GlobalNetworkPolicy", "db", space)]
    group = {"endpointSelector": {}, "ingress": [{"fromCIDRSet": [{"cidrGroupRef": "g"}]}]}
    by_group = [*linked, _document("CiliumNetworkPolicy", "dc1/shop/p", group)]
    partners = _document("NetworkSet", "aws1/shop/partners", {"nets": ["203.0.113.0/24"]})
    everywhere = _document("NetworkSet", "aws1/shop/partners", {"nets": ["198.51.100.0/24"]})
    everywhere["metadata"] = {"namespace": "shop", "name": "partners"}
    face = {"node": "n1", "interfaceName": "*", "expectedIPs": ["192.0.2.10"], "profiles": ["open"]}
    policed = [
        *linked,
        _document("GlobalNetworkPolicy", "db", {"selector": "role == 'host'", "applyOnForward": True, "types": ["Ingress"]}),
        _document("HostEndpoint", "dc1/all", face, labels={"role": "host"}),
    ]  # fmt: skip
    wall = {"node": "n1", "interfaceName": "eth1", "expectedIPs": ["192.0.2.77"]}
    rest = {"ingress": [{"action": "Allow"}], "labelsToApply": {"zone": "dmz"}}
    from_hosts = {
        "selector": "app == 'db'",
        "types": ["Ingress"],
        "ingress": [{"action": "Allow", "source": {"selector": "zone == 'dmz'"}}],
    }
    return {
        "empty": [],
        "alone": alone,
        "linked": linked,
        "linked and open": [*linked, _policy("app == 'web'", "Allow")],
        "linked and closed": [*linked, _policy("app == 'web'", "Deny")],
        "a workload moved": moved,
        "one address twice": twice,
        "with a namespace's labels": [
            *by_team,
            _document("Namespace", "aws1/shop", {}, labels={"team": "a"}),
        ],
        "with other labels of it": [*by_team, _document("Namespace", "aws1/shop", {}, labels={"team": "b"})],
        "with a network set of the namespace": [
            *by_team,
            _document("Namespace", "aws1/shop", {}, labels={"team": "a"}),
            partners,
        ],
        "with a network set of every cluster's": [
            *by_team,
            _document("Namespace", "aws1/shop", {}, labels={"team": "a"}),
            everywhere,
        ],
        "with a group of prefixes": [
            *by_group,
            _document("CiliumCIDRGroup", "dc1/g", {"externalCIDRs": ["8.0.0.0/8"]}),
        ],
        "with other prefixes in it": [
            *by_group,
            _document("CiliumCIDRGroup", "dc1/g", {"externalCIDRs": ["9.0.0.0/8"]}),
        ],
        "with a group that is not there": by_group,
        "with IPv6": [*alone, _endpoint("dc1/shop/six", "fd00::1", 300)],
        "with a kind that is not known": [*linked, _document("Spell", "x", {})],
        "with a host endpoint": policed,
        "with its profile": [*policed, _document("Profile", "open", rest)],
        "with one of another interface": [
            *policed,
            _document("HostEndpoint", "dc1/wall", wall, labels={"role": "host"}),
        ],
        "with the other on another node": [
            *policed,
            _document("HostEndpoint", "dc1/wall", {**wall, "node": "n2"}),
        ],
        "with a host endpoint as peer": [
            *linked,
            _document("GlobalNetworkPolicy", "db", from_hosts),
            _document("Profile", "dmz", rest),
            _document(
                "HostEndpoint", "aws1/all", {**face, "expectedIPs": ["192.0.2.20"], "profiles": ["dmz"]}
            ),
        ],
        "with a profile of the namespace": [*linked, _document("Profile", "kns.shop", {})],
        "without the node": [d for d in linked if d["kind"] != "Node"],
    }
