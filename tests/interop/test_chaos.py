"""Replicas, agents, a relay, the database and the lines between them are killed, stopped and cut at random while writers go on: nothing acknowledged is lost,
nothing is done twice, and every agent ends with exactly what it may see.

`CAUSEWAY_CHAOS_SECONDS` makes it longer, `CAUSEWAY_CHAOS_SEED` repeats what a failure has printed.
"""

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodeagent.control import cache, csr, identity
from nodeagent.control.client import HttpChannel
from nodeagent.control.replica import Replica as Copy
from nodeagent.control.replica import State
from nodeagent.settings import Secret
from nodeagent.status import read_status
from tests.controlplane.faketime import MachineClock
from tests.controlplane.postgres import Server
from tests.deploy.test_replicas import Replica, at, free_ports, is_ready, until
from tests.interop.line import Line

SECONDS = float(os.environ.get("CAUSEWAY_CHAOS_SECONDS", "35"))
SEED = int(os.environ.get("CAUSEWAY_CHAOS_SEED") or secrets.randbelow(2**32))
ROOT = Path(__file__).parents[2]
AGENTS = (("dc1", "n1"), ("dc1", "n2"), ("aws1", "n1"), ("aws1", "n2"))
RELAYED = "aws1"
"""The cluster whose agents ask a relay."""
WRITERS = 3
HEALED_SECONDS = 60.0
SYNCED = "fsync=on"
"""A disk that nobody waits for cannot be slow."""
pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(SECONDS + 200)]


@dataclass
class Follower:
    """One agent's process, or the relay's."""

    state: Path
    words: tuple[str, ...] = ()
    """Of a relay: how it is run."""
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        words = [sys.executable, "-m", *(self.words or ("tests.interop.follower", str(self.state)))]
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@dataclass
class World:
    server: Server
    replicas: list[Replica]
    line: Line
    folder: Path
    chance: random.Random
    machines: list[MachineClock]
    """Of the replicas."""
    relay_port: int
    followers: list[Follower] = field(default_factory=list)
    relays: list[Follower] = field(default_factory=list)
    """The one of aws1, which its agents ask."""
    done: Counter[str] = field(default_factory=Counter)
    """What was done to it, and what writers met."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Idempotency key to the revision that was told."""
    made: dict[str, int] = field(default_factory=dict)
    """Path of each NetworkSet that was made to that revision."""
    is_over: bool = False

    async def supervise(self) -> None:
        """As systemd does: what ended is started again."""
        while True:
            for one in (*self.replicas, *self.followers, *self.relays):
                if one.process is not None and one.process.poll() is not None:
                    self.done["started again"] += 1
                    one.start()
            await asyncio.sleep(0.3)

    def remove(self) -> None:
        for one in (*self.replicas, *self.followers, *self.relays):
            if one.process is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.process.kill()
                one.process.wait(20)

    def user(self, url: str = "") -> httpx.AsyncClient:
        first = self.replicas[0]
        headers = {"Authorization": f"Bearer {first.token}"}
        return httpx.AsyncClient(base_url=url or at(first), headers=headers, timeout=4, verify=first.trust)


def document(kind: str, name: str, spec: dict[str, Any], **meta: str) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


async def write(world: World, api: httpx.AsyncClient, key: str, what: str, *items: dict[str, Any]) -> None:
    """Send the same, with the same key, until it is acknowledged."""
    while True:
        try:
            answer = await api.post(
                f"/api/v1/{what}", json={"items": items}, headers={"Idempotency-Key": key}
            )
        except httpx.HTTPError:
            world.done["writes without an answer"] += 1
            await asyncio.sleep(0.05)
            continue
        if answer.status_code == 200:
            world.acknowledged[key] = answer.json()["revision"]
            return
        assert answer.status_code == 503, (key, answer.status_code, answer.text)
        world.done["writes refused"] += 1
        await asyncio.sleep(0.1)


async def writer(world: World, number: int) -> None:
    """Objects of its own, each made once; one that is changed each time; and now and then the link."""
    turn, where = 0, AGENTS[number % len(AGENTS)][0]
    async with world.user(f"https://127.0.0.1:{world.line.port}") as api:
        while not world.is_over:
            made = document("NetworkSet", f"w{number}-{turn}", {"nets": ["198.51.100.0/24"]}, cluster=where, namespace="shop")  # fmt: skip
            moved = document("Tier", f"moved{number}", {"order": 1000 + turn})
            key = f"made-{number}-{turn}"
            await write(world, api, key, "apply", made, moved)
            world.made[f"{where}/shop/w{number}-{turn}"] = world.acknowledged[key]
            if number == 0 and turn % 7 == 6:
                link = document("Link", "dc1-aws1", {"clusters": ["dc1", "aws1"]})
                await write(world, api, f"link-{turn}", "delete" if turn % 2 else "apply", link)
            turn += 1
            await asyncio.sleep(0.02)


async def killed_replica(world: World) -> None:
    one = world.chance.choice(world.replicas)
    assert one.process is not None
    one.process.kill()


async def stopped_replica(world: World) -> None:
    one = world.chance.choice(world.replicas)
    process = one.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGCONT)


async def killed_agent(world: World) -> None:
    await asyncio.to_thread(world.chance.choice(world.followers).kill)


async def killed_relay(world: World) -> None:
    await asyncio.to_thread(world.relays[0].kill)


async def stopped_relay(world: World) -> None:
    process = world.relays[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGCONT)


async def killed_database(world: World) -> None:
    if world.chance.random() < 0.5:
        world.server.kill()
    await asyncio.to_thread(world.server.stop, "immediate")
    await asyncio.sleep(world.chance.uniform(0, 2))
    await asyncio.to_thread(world.server.start, SYNCED)


async def cut_lines(world: World) -> None:
    world.line.cut(world.chance.uniform(0.2, 1))


async def stalled_lines(world: World) -> None:
    world.line.goes_on.clear()
    await asyncio.sleep(world.chance.uniform(0.2, 2))
    world.line.cut(0.3)
    world.line.heal()


async def slow_lines(world: World) -> None:
    world.line.delay_seconds = world.chance.uniform(0.001, 0.05)
    await asyncio.sleep(1)
    world.line.cut(0.2)
    world.line.heal()


async def slow_disk(world: World) -> None:
    """Nothing is synced before a tenth of a second has passed: no commit is sooner."""

    def say(delay: int, siblings: int) -> None:
        for setting in (f"commit_delay = {delay}", f"commit_siblings = {siblings}"):
            world.server.ask(f"ALTER SYSTEM SET {setting}")
        world.server.ask("SELECT pg_reload_conf()")

    await asyncio.to_thread(say, 100_000, 0)
    await asyncio.sleep(2)
    await asyncio.to_thread(say, 0, 5)


async def set_clock(world: World) -> None:
    """One machine's, by hours or days: nodes' certificates have ended, or are not good yet, for its TLS."""
    machine = world.chance.choice(world.machines)
    for words in (world.chance.choice(("+2d", "-2d", "+7h", "-7h")), "+0"):
        machine.set(words)
        await asyncio.sleep(world.chance.uniform(1, 3))


FAULTS: list[Callable[[World], Awaitable[None]]] = [
    killed_replica, stopped_replica, killed_agent, killed_relay, stopped_relay, killed_database, cut_lines, cut_lines, stalled_lines, slow_lines, slow_disk, set_clock,
]  # fmt: skip


async def rage(world: World) -> None:
    """Each fault once, then any, until the time is over; all is well at the end."""
    clock = asyncio.get_running_loop().time
    end, due = clock() + SECONDS, list(FAULTS)
    world.chance.shuffle(due)
    while clock() < end:
        fault = due.pop() if due else world.chance.choice(FAULTS)
        world.done[fault.__name__] += 1
        await fault(world)
        await asyncio.sleep(world.chance.uniform(0.1, 1.5))
    world.line.heal()


async def joined(world: World, api: httpx.AsyncClient, place: int) -> Follower:
    cluster, node = AGENTS[place]
    state = world.folder / f"{cluster}-{node}"
    state.mkdir()
    token = (await api.post("/api/v1/jointokens", json={"cluster": cluster})).json()["token"]
    asked = await asyncio.to_thread(csr.request)
    body = {"token": token, "cluster": cluster, "node": node, "csr": asked.csr, "addresses": [f"192.0.2.{place + 1}"], "podPrefixes": []}  # fmt: skip
    answer = await api.post("/agent/v1/join", json=body)
    assert answer.status_code == 201, answer.text
    identity.save(state, asked.key, json.loads(answer.content))
    where = f"https://127.0.0.1:{world.line.port if cluster != RELAYED else world.relay_port}"
    (state / "agent.toml").write_text(f'server = "{where}"\ncluster = "{cluster}"\nnode = "{node}"\n')
    return Follower(state)


async def relayed(world: World, api: httpx.AsyncClient) -> Follower:
    """The relay, which has joined."""
    state, port = world.folder / "relay", str(world.relay_port)
    one = document("Relay", "r1", {"names": ["127.0.0.1"]}, cluster=RELAYED)
    assert (await api.post("/api/v1/apply", json={"items": [one]})).status_code == 200
    body = {"cluster": RELAYED, "role": "relay", "node": "r1"}
    token = (await api.post("/api/v1/jointokens", json=body)).json()["token"]
    words = [
        "relay",
        "join",
        "--cluster",
        RELAYED,
        "--name",
        "r1",
        "--token-file",
        "-",
        "--state-dir",
        str(state),
    ]
    where = ["--server", f"https://127.0.0.1:{world.line.port}", "--ca-file", str(world.replicas[0].folder / "ca.pem")]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "api.cli.main", *words, *where], input=token, cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Follower(state, ("api.cli.main", "relay", "run", "--listen", f"127.0.0.1:{port}", "--state-dir", str(state)))  # fmt: skip


async def snapshot(url: str, state: Path) -> State:
    """What a node may see, asked for as one that knows nothing."""
    channel, copy = HttpChannel(url, Secret(""), identity_dir=state), Copy(State())
    try:
        async for message in channel.messages(None):
            if (found := copy.take(message)) is not None:
                return found
    finally:
        await channel.close()
    raise AssertionError("the stream ended before the snapshot did")


def documents(state: State) -> dict[tuple[str, str], Any]:
    return {key: dict(value) for key, value in state.documents.items()}


async def has_what_it_may_see(world: World, follower: Follower) -> bool:
    fresh = [await snapshot(at(replica), follower.state) for replica in world.replicas]
    kept = await asyncio.to_thread(cache.peek, follower.state / "cache.json")
    enforced = read_status(follower.state).revision_enforced
    return enforced == fresh[0].revision and all(documents(one) == documents(kept) for one in fresh)


async def all_have_reported(world: World) -> bool:
    """Each node, also below the relay, that it enforces all."""
    newest = int(world.server.ask("SELECT value FROM counters WHERE name = 'revision'"))
    told = world.server.ask("SELECT revision FROM node_reports").split()
    return len(told) == len(AGENTS) and all(int(one) == newest for one in told)


async def all_ready(world: World) -> bool:
    return all([await is_ready(at(replica), replica) for replica in world.replicas])


async def begun(world: World) -> None:
    for replica in world.replicas:
        replica.start()
    await until(lambda: all_ready(world))
    async with world.user() as api:
        clusters = [document("Cluster", name, {"prefixes": [f"10.{n}.0.0/16"]}) for n, name in ((10, "dc1"), (20, "aws1"))]  # fmt: skip
        assert (await api.post("/api/v1/apply", json={"items": clusters})).status_code == 200
        for place in range(len(AGENTS)):
            world.followers.append(await joined(world, api, place))
        world.relays.append(await relayed(world, api))
    world.relays[0].start()
    for follower in world.followers:
        follower.start()


async def test_nothing_acknowledged_is_lost_nothing_is_done_twice_and_all_agents_agree(
    make_server: Callable[[], Server], tmp_path: Path
) -> None:
    print(f"CAUSEWAY_CHAOS_SEED={SEED} CAUSEWAY_CHAOS_SECONDS={SECONDS:g}")
    chance, server = random.Random(SEED), make_server()
    server.make()
    server.start(SYNCED)
    (relay_port, *ports), secret = free_ports(3), secrets.token_hex(32)
    url = f"postgresql://postgres@/postgres?host={server.folder}"
    replicas = [Replica(port, tmp_path / f"replica{port}", url) for port in ports]
    machines = [MachineClock(tmp_path / f"clock{port}") for port in ports]
    for replica, machine in zip(replicas, machines, strict=True):
        replica.prepare(secret)
        replica.environment = machine.environment
        machine.set("+0")
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Line(ports, random.Random(SEED + 1)).listening())
        world = World(server, replicas, line, tmp_path, chance, machines, relay_port)
        stack.callback(world.remove)
        await begun(world)
        async with asyncio.timeout(SECONDS + HEALED_SECONDS + 30), asyncio.TaskGroup() as group:
            keeper = group.create_task(world.supervise())
            writers = [group.create_task(writer(world, n)) for n in range(WRITERS)]
            await rage(world)
            await until(lambda: all_ready(world))
            world.is_over = True
            await asyncio.gather(*writers)
            for follower in world.followers:
                await until(lambda f=follower: has_what_it_may_see(world, f), HEALED_SECONDS)  # type: ignore[misc]
            await until(lambda: all_have_reported(world))
            keeper.cancel()
        print(dict(world.done), "acknowledged:", len(world.acknowledged), "cuts:", line.cuts)
        must_be_there_once(world)
        logs = [replica.folder.parent / f"{replica.folder.name}.log" for replica in replicas]
        for log in (*logs, *(one.state / "log" for one in (*world.followers, *world.relays))):
            assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
        checked = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "api.cli.main", "db", "check", "--database-url", url],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (checked.returncode, "no fault" in checked.stdout) == (0, True), (
            checked.stdout + checked.stderr
        )
        first = replicas[0]
        facts = {"CAUSEWAY_SERVER": at(first), "CAUSEWAY_TOKEN_FILE": str(first.folder / "admin.token"), "CAUSEWAY_CA_FILE": str(first.folder / "ca.pem")}  # fmt: skip
        verified = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "api.cli.main", "audit", "verify"],
            cwd=ROOT, env={**os.environ, **facts}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(verified.stdout)
        assert verified.returncode == 0, verified.stdout + verified.stderr


def must_be_there_once(world: World) -> None:
    """What was acknowledged is in the log of changes, once, at the revision that was told."""
    ask = world.server.ask
    rows = [row.split("|") for row in ask("SELECT path, revision FROM changes WHERE kind = 'NetworkSet'").splitlines()]  # fmt: skip
    assert {path: int(revision) for path, revision in rows} == world.made, "each, and nothing else"
    assert len(rows) == len(world.made), "each once"
    assert int(ask("SELECT count(*) FROM resources WHERE kind = 'NetworkSet'")) == len(rows)
    for number in range(WRITERS):
        turns = sum(key.startswith(f"made-{number}-") for key in world.acknowledged)
        orders = [json.loads(text)["spec"]["order"] for text in ask(f"SELECT document FROM changes WHERE path = 'moved{number}' ORDER BY revision").splitlines()]  # fmt: skip
        assert orders == [1000 + turn for turn in range(turns)], "one after the other, none again"
    links = sum(key.startswith("link-") for key in world.acknowledged)
    assert int(ask("SELECT count(*) FROM changes WHERE kind = 'Link'")) <= links
    assert len(world.acknowledged) > SECONDS, "there was somebody to disturb"
