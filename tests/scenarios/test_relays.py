"""Real processes on loopback: a control plane and a relay that are killed, and nodes below that go on, come back, and are told everything."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.client import Client
from federation import wire
from federation.errors import CausewayError, Unavailable
from nodeagent.control import csr, identity
from nodeagent.control.client import HttpChannel
from nodeagent.control.replica import Replica, State
from nodeagent.settings import Secret
from tests.api.relay.conftest import until

CAUSEWAY = [sys.executable, "-m", "api.cli.main"]
ROOT = str(Path(__file__).parents[2])
CLUSTER = {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.10.0.0/16"]}}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Process:
    """One of ours, which may be killed and started again."""

    def __init__(self, *words: str, port: int) -> None:
        self.words = [*CAUSEWAY, *words, "--listen", f"127.0.0.1:{port}"]
        self.url = f"https://127.0.0.1:{port}"
        self.running: subprocess.Popen[str] | None = None

    def start(self) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": ROOT}
        self.running = subprocess.Popen(self.words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)  # fmt: skip
        assert self.running.stderr is not None
        line = self.running.stderr.readline()
        assert "https://" in line, line
        return line

    def kill(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGKILL)
            self.running.wait(20)
            assert self.running.stderr is not None
            self.running.stderr.close()
            self.running = None


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.state = folder / "server", folder / "relay"
        self.centre = Process("serve", "--data-dir", str(self.data), port=free_port())
        self.relay = Process("relay", "run", "--state-dir", str(self.state), port=free_port())
        self.pin = ""

    def run(self, *words: str, stdin: str = "") -> str:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": ROOT, "COLUMNS": "200", "CAUSEWAY_SERVER": self.centre.url,
            "CAUSEWAY_TOKEN_FILE": str(self.data / "admin.token"), "CAUSEWAY_CA_FILE": str(self.data / "ca.pem"),
        }  # fmt: skip
        done = subprocess.run([*CAUSEWAY, *words], input=stdin, capture_output=True, text=True, check=False, env=environment, timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def begin(self) -> None:
        """All of it, by the command line alone."""
        found = re.search(r"sha256:[0-9a-f]{64}", self.centre.start())
        assert found
        self.pin = found.group()
        self.apply(CLUSTER)
        token = self.run("relay", "create", "dc1/r1", "--name", "127.0.0.1")
        words = (
            "relay",
            "join",
            "--cluster",
            "dc1",
            "--name",
            "r1",
            "--token-file",
            "-",
            "--ca-cert-hash",
            self.pin,
        )
        self.run(*words, "--state-dir", str(self.state), stdin=token)
        assert (self.state / "identity.pem").stat().st_mode & 0o777 == 0o600
        self.relay.start()

    def apply(self, document: dict[str, object]) -> int:
        return int(self.ask("POST", "/api/v1/apply", {"items": [document]})["revision"])

    def ask(self, method: str, path: str, body: object = None) -> Any:
        client = Client(self.centre.url, str(self.data / "admin.token"), ca_file=str(self.data / "ca.pem"))
        with client.http:
            return client.ask(method, path, body)

    def join(self, number: int, *more: str) -> Path:
        """A node joins through the relay."""
        state = self.folder / f"n{number}"
        token = self.run("token", "create", "--cluster", "dc1")
        words = (
            "join",
            "--cluster",
            "dc1",
            "--node",
            f"n{number}",
            "--token-file",
            "-",
            "--state-dir",
            str(state),
            *more,
        )
        where = ("--address", f"192.0.2.{number}", "--pod-prefix", f"10.10.{number}.0/24")
        self.run(*words, *where, "--server", self.relay.url, stdin=token)
        return state


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        made.begin()
        yield made
    finally:
        made.relay.kill()
        made.centre.kill()


def tier(order: int) -> dict[str, object]:
    return {"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": "t"}, "spec": {"order": order}}  # fmt: skip


class Follower:
    """A node's agent, as far as its stream is concerned."""

    def __init__(self, url: str, state: Path) -> None:
        self.channel = HttpChannel(url, Secret(""), identity_dir=state)
        self.replica = Replica(State())
        self.begins: list[str] = []
        self.lost = 0
        self.revisions: list[int] = []

    @property
    def order(self) -> object:
        found = self.replica.state.documents.get(("Tier", "t"))
        return found["spec"]["order"] if found else None

    async def follow(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self.channel.messages(self.replica.state.resume_from)) as stream:  # fmt: skip
                    async for message in stream:
                        if isinstance(message, wire.Begin):
                            self.begins.append(message.mode)
                        if (state := self.replica.take(message)) is not None:
                            self.revisions.append(state.revision)
            except CausewayError:
                pass
            self.lost += 1
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def following(url: str, state: Path) -> AsyncIterator[Follower]:
    follower = Follower(url, state)
    task = asyncio.ensure_future(follower.follow())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])
        await follower.channel.close()


async def stale(world: World, state: Path) -> None:
    """The relay has noticed that the control plane is away."""
    async with httpx.AsyncClient(base_url=world.relay.url, verify=identity.context(state)) as http:
        async with asyncio.timeout(20):
            while (await http.get("/readyz")).json()["status"] != "stale":  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_nodes_go_on_below_a_relay_while_the_control_plane_is_away(world: World) -> None:
    state = await asyncio.to_thread(world.join, 1, "--ca-cert-hash", world.pin)
    await asyncio.to_thread(world.apply, tier(5))
    async with following(world.relay.url, state) as old:
        await until(lambda: old.order == 5)
        unused = await asyncio.to_thread(world.run, "token", "create", "--cluster", "dc1")
        await until(lambda: len(old.revisions) > 1)
        world.centre.kill()
        await stale(world, state)
        async with following(world.relay.url, state) as restarted:  # with nothing on its disk
            await until(lambda: restarted.order == 5)
            assert ("Node", "dc1/n1") in restarted.replica.state.documents
            assert restarted.replica.state.documents.keys() == old.replica.state.documents.keys()
        async with httpx.AsyncClient(base_url=world.relay.url, verify=identity.context(state)) as http:
            made = await asyncio.to_thread(csr.request)
            new = {"cluster": "dc1", "node": "n9", "token": unused, "csr": made.csr}
            key = {"publicKey": "k" * 43 + "=", "listenPort": 51820}
            for method, path, body in (
                ("POST", "/agent/v1/join", new),
                ("PUT", "/agent/v1/key", key),
                ("POST", "/agent/v1/renew", {"csr": made.csr}),
            ):
                answer = await http.request(method, path, json=body)
                assert answer.status_code == 503
                assert "does not reach the control plane" in answer.json()["detail"]
                assert answer.headers["retry-after"]
        await old.channel.report(old.replica.state.revision, (("map m", "driver", "full"),))
        assert old.lost == 0
        await asyncio.to_thread(world.centre.start)
        async with asyncio.timeout(30):
            behind = ""
            while "full" not in behind:
                await asyncio.sleep(0.2)
                rollout = f"/api/v1/rollouts/{old.replica.state.revision}"
                behind = str((await asyncio.to_thread(world.ask, "GET", rollout))["behind"])
        assert "map m: full" in str(behind)
        await asyncio.to_thread(world.apply, tier(6))
        await until(lambda: old.order == 6, 40)
        assert (old.begins, old.lost) == (["snapshot"], 0)


async def test_a_relay_that_is_killed_comes_back_from_its_disk_with_all_that_it_has_told(world: World) -> None:  # fmt: skip
    state = await asyncio.to_thread(world.join, 1, "--ca-cert-hash", world.pin)
    async with following(world.relay.url, state) as node:
        for order in range(5, 25):
            await asyncio.to_thread(world.apply, tier(order))
        await until(lambda: node.order == 24)
        world.relay.kill()  # at once: what was told last is in no whole state yet
        world.centre.kill()
        known = node.replica.state.revision
        await until(lambda: node.lost)
        assert node.order == 24
        await asyncio.to_thread(world.relay.start)
        await until(lambda: len(node.begins) == 2)
        assert node.begins[-1] == "resume"
        assert node.replica.state.revision == known
        async with following(world.relay.url, state) as fresh:
            await until(lambda: fresh.order == 24)
            assert fresh.replica.state.documents.keys() == node.replica.state.documents.keys()
        ahead = HttpChannel(world.relay.url, Secret(""), identity_dir=state)
        with pytest.raises(Unavailable, match="already"):
            await anext(ahead.messages(known + 1))
        older = ahead.messages(known - 5)
        begin = await anext(older)
        assert isinstance(begin, wire.Begin)
        assert begin.mode == "snapshot"
        await older.aclose()
        await ahead.close()
        await asyncio.to_thread(world.centre.start)
        await asyncio.to_thread(world.apply, tier(30))
        await until(lambda: node.order == 30, 40)
        assert node.revisions == sorted(node.revisions)
        assert node.begins == ["snapshot", "resume"]


async def test_a_node_moves_between_a_relay_and_the_control_plane_and_misses_nothing(world: World) -> None:
    state = await asyncio.to_thread(world.join, 1, "--ca-cert-hash", world.pin)
    await asyncio.to_thread(world.apply, tier(5))
    async with following(world.relay.url, state) as below:
        await until(lambda: below.order == 5)
    revision = await asyncio.to_thread(world.apply, tier(6))
    for url in (world.centre.url, world.relay.url):
        moved = HttpChannel(url, Secret(""), identity_dir=state)
        replica, begins = Replica(below.replica.state), []
        async with contextlib.aclosing(moved.messages(replica.state.revision)) as stream:
            async for message in stream:
                if isinstance(message, wire.Begin):
                    begins.append(message.mode)
                if replica.take(message) is not None and replica.state.revision >= revision:
                    break
        await moved.close()
        assert begins == ["resume"]
        assert replica.state.documents["Tier", "t"]["spec"]["order"] == 6
    world.relay.kill()
    async with following(world.centre.url, state) as direct:
        await until(lambda: direct.order == 6)
