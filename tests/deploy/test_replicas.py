"""Three real replicas on a real PostgreSQL behind a real HAProxy with the configuration of deploy/: killed, stopped, the database restarted."""

import asyncio
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml

from tests.controlplane.postgres import Server

pytestmark = pytest.mark.postgresql
ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
READS_AWAY_SECONDS = 5.0
"""As docs/operations.md says."""
WRITERS = 4


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Replica:
    port: int
    folder: Path
    database_url: str
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        words = [sys.executable, "-m", "api.cli.main", "serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.folder)]  # fmt: skip
        environment = {
            **os.environ,
            "CAUSEWAY_DATABASE_URL": self.database_url,
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(words, env=environment, stderr=log, stdout=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def prepare(self, secret: str) -> None:
        """What every replica is given: the secret that the certificate authority is kept under."""
        self.folder.mkdir()
        path = self.folder / "ca.secret"
        path.touch(mode=0o600)
        path.write_text(secret)

    @property
    def trust(self) -> ssl.SSLContext:
        """Of whoever speaks to it, or through the balancer."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    @property
    def token(self) -> str:
        return (self.folder / "admin.token").read_text().strip()


@dataclass
class Balanced:
    url: str
    server: Server
    replicas: list[Replica]
    acknowledged: list[str] = field(default_factory=list)
    longest_away: float = 0.0
    reads: int = 0


@contextmanager
def balancer(folder: Path, front: int, backs: list[int]) -> Iterator[None]:
    """HAProxy with the configuration of deploy/, only addresses and ports replaced."""
    text, count = re.subn(r"bind :8440", f"bind 127.0.0.1:{front}", CONFIGURATION.read_text())
    for number, port in enumerate(backs, 1):
        text, one = re.subn(rf"(server replica{number}) \S+", rf"\1 127.0.0.1:{port}", text)
        count += one
    assert count == 1 + len(backs)
    (folder / "haproxy.cfg").write_text(text)
    with (folder / "haproxy.log").open("wb") as log:
        words = ["/usr/sbin/haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def balanced(make_server: Callable[[], Server], tmp_path: Path) -> Iterator[Balanced]:
    if not shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        pytest.skip("haproxy is not installed")
    server = make_server()
    server.make()
    server.start()
    front, *backs = free_ports(4)
    url = f"postgresql://postgres@/postgres?host={server.folder}"
    replicas = [Replica(port, tmp_path / f"replica{port}", url) for port in backs]
    with balancer(tmp_path, front, backs):
        try:
            secret = secrets.token_hex(32)
            for replica in replicas:  # at once, on an empty database
                replica.prepare(secret)
                replica.start()
            yield Balanced(f"https://127.0.0.1:{front}", server, replicas)
        finally:
            for replica in replicas:
                if replica.process is not None and replica.process.poll() is None:
                    replica.end()


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - others' states
            await asyncio.sleep(0.05)


async def is_ready(url: str, replica: Replica) -> bool:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=2, verify=replica.trust) as client:
            return (await client.get("/readyz")).json().get("status") == "ready"
    except (httpx.HTTPError, ValueError, OSError):  # the last: it has not written its roots yet
        return False


def at(replica: Replica) -> str:
    return f"https://127.0.0.1:{replica.port}"


async def all_ready(world: Balanced) -> bool:
    urls = {at(replica): replica for replica in world.replicas} | {world.url: world.replicas[0]}
    return all([await is_ready(url, replica) for url, replica in urls.items()])


async def names_at(replica: Replica, headers: dict[str, str]) -> list[str]:
    async with httpx.AsyncClient(
        base_url=at(replica), headers=headers, timeout=20, verify=replica.trust
    ) as api:
        answer = await api.get("/api/v1/tiers?limit=5000")
    assert answer.status_code == 200, answer.text
    return sorted(item["metadata"]["name"] for item in answer.json()["items"])


async def write(world: Balanced, api: httpx.AsyncClient, name: str) -> None:
    """Create, and send the same again until it is acknowledged."""
    document = {"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": name}, "spec": {}}
    while True:
        try:
            answer = await api.post("/api/v1/tiers", json=document, headers={"Idempotency-Key": name})
        except httpx.HTTPError:
            continue
        if answer.status_code == 201:
            world.acknowledged.append(name)
            return
        assert answer.status_code in (502, 503, 504), answer.text
        await asyncio.sleep(0.05)


async def read(world: Balanced, api: httpx.AsyncClient) -> None:
    """For ever: what is longest without an answer."""
    clock = asyncio.get_running_loop().time
    last = clock()
    while True:
        try:
            answer = await api.get("/api/v1/tiers?limit=1")
            is_fine = answer.status_code == 200
        except httpx.HTTPError:
            is_fine = False
        if is_fine:
            world.longest_away = max(world.longest_away, clock() - last)
            last = clock()
            world.reads += 1
        await asyncio.sleep(0.02)


async def test_what_is_acknowledged_is_there_once_and_reads_go_on(balanced: Balanced) -> None:
    world = balanced
    await until(lambda: all_ready(world))
    for replica in world.replicas:  # each has a token of its own, good at all
        headers = {"Authorization": f"Bearer {replica.token}"}
        for other in world.replicas:
            await names_at(other, headers)
    headers = {"Authorization": f"Bearer {world.replicas[0].token}"}
    is_done = False

    async def writes(number: int, api: httpx.AsyncClient) -> None:
        turn = 0
        while not is_done:
            await write(world, api, f"w{number}-{turn}")
            turn += 1
            await asyncio.sleep(0.02)

    async def more(count: int = 20) -> None:
        wanted = len(world.acknowledged) + count
        async with asyncio.timeout(60):
            while len(world.acknowledged) < wanted:  # noqa: ASYNC110 - others' progress
                await asyncio.sleep(0.02)

    killed, stopped, _ = world.replicas
    async with (
        httpx.AsyncClient(base_url=world.url, headers=headers, timeout=20, verify=killed.trust) as api,
        asyncio.timeout(180),
        asyncio.TaskGroup() as group,
    ):
        writers = [group.create_task(writes(n, api)) for n in range(WRITERS)]
        reader = group.create_task(read(world, api))
        await more()
        killed.end(signal.SIGKILL)
        await more()
        killed.start()
        await until(lambda: all_ready(world))
        assert stopped.end() == 0
        await more()
        stopped.start()
        await until(lambda: all_ready(world))
        await asyncio.to_thread(world.server.stop, "fast")
        await asyncio.to_thread(world.server.start)
        await more()
        await until(lambda: all_ready(world))
        is_done = True
        await asyncio.gather(*writers)
        reader.cancel()
    told = {}
    for replica in world.replicas:
        told[replica.port] = await names_at(replica, headers)
    assert all(names == sorted(world.acknowledged) for names in told.values()), "there, and nothing else"
    once = world.server.ask("SELECT count(*), count(DISTINCT path) FROM changes WHERE kind = 'Tier'")
    assert once == f"{len(world.acknowledged)}|{len(world.acknowledged)}"
    assert world.reads > 20
    assert world.longest_away < READS_AWAY_SECONDS


def test_the_configuration_is_valid_without_a_warning() -> None:
    if not shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        pytest.skip("haproxy is not installed")
    done = subprocess.run(
        ["/usr/sbin/haproxy", "-c", "-f", CONFIGURATION], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_compose_starts_what_the_balancer_expects() -> None:
    folder = ROOT / "deploy" / "compose"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    named = re.findall(r"server (replica\d) \S+:(\d+)", CONFIGURATION.read_text())
    assert [name for name, _ in named] == sorted(name for name in services if name.startswith("replica"))
    listening = re.search(r'"--listen", "0\.0\.0\.0:(\d+)"', (folder / "Dockerfile").read_text())
    assert listening
    assert {port for _, port in named} == {listening.group(1)}
    for volume in services["balancer"]["volumes"]:
        assert (folder / volume.split(":")[0]).is_file()
    assert services["replica1"]["build"]["dockerfile"] == "deploy/compose/Dockerfile"
