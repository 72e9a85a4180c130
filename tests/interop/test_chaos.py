"""Replicas, agents, a relay, the database and the lines between them are killed, stopped and cut at random while writers go on: nothing acknowledged is lost,
nothing is done twice, and every agent ends with exactly what it may see.

`CAUSEWAY_CHAOS_SECONDS` makes it longer, `CAUSEWAY_CHAOS_SEED` repeats what a failure has printed.
"""

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
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
from tests.interop.faults import FAULTS, ROOT, SYNCED, Follower, World
from tests.interop.line import Line

SECONDS = float(os.environ.get("CAUSEWAY_CHAOS_SECONDS", "35"))
SEED = int(os.environ.get("CAUSEWAY_CHAOS_SEED") or secrets.randbelow(2**32))
AGENTS = (("dc1", "n1"), ("dc1", "n2"), ("aws1", "n1"), ("aws1", "n2"))
RELAYED = "aws1"
"""The cluster whose agents ask a relay."""
WRITERS = 3
HEALED_SECONDS = 60.0
pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(SECONDS + 200)]


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
