"""`./dev bench fanout [SIZES]`: how long a change takes to the last of many agents, and what they cost; benchmarks/results/fanout.json. Sizes default to
500 … 8,000 agents; named sizes are measured only, and not written."""

import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.fanout import federation
from benchmarks.rows import Aim, Row, grown, show, write
from tests.controlplane.postgres import Server

AREA = "fanout"
SIZES = (500, 1000, 2000, 4000, 5000, 8000)
CHANGES, BETWEEN = 20, 1.5
"""Changes that are measured, and seconds between them."""
IDLE_SECONDS = 25
"""Memory is given back meanwhile (`api.connections.give_back`)."""
AIM_SIZE = 5000
REPLICATED = 2000
"""Agents of two replicas, half of them each: servers, PostgreSQL and the crowd share the cores."""
PATIENCE = 900
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one size. Seconds, but where said."""

    agents: int
    cold: float
    first: float
    """Bytes of the first state of an agent."""
    latencies: dict[str, float]
    """p50, p99, last: from the write's request to the agents' receipt, over all agents and changes."""
    per_change: float
    """The server's processor time."""
    idle: float
    """The server's share of a core while nothing changes."""
    memory: float
    """KiB of the server for each agent, once it has given back what only their arrival took."""
    bytes: float
    """Of one change to one agent."""
    losses: int


def main(sizes: list[int]) -> None:
    """Measure all, or those sizes."""
    found = []
    for size in sizes or SIZES:
        found.append(measured(size))
        print(found[-1], flush=True)
    rows = list(rows_of(found))
    for size in (min(s, REPLICATED) for s in sizes) if sizes else (REPLICATED,):
        two = measured(size, replicas=2)
        print(two, flush=True)
        rows += [
            replace(row, name=f"two replicas on PostgreSQL: {row.name}", growth=None)
            for row in rows_of([two])
        ]
    if sizes:
        show(AREA, rows)
    else:
        print(f"written: {write(AREA, rows)}")


def rows_of(found: list[Measured]) -> Iterator[Row]:
    """The table."""
    for key, what, most in (
        ("p50", "p50", None),
        ("p99", "p99", 1000.0),
        ("last", "the last agent's, worst change", None),
    ):
        yield from grown(
            (m.agents, _row(f"change to agent, {what}, {m.agents:,} agents", "ms", m.latencies[key] * 1000, most, m.agents)) for m in found
        )  # fmt: skip
    for what, unit, value, most in (
        ("cold start: all at once to the last one's first state", "s", lambda m: m.cold, 60.0),
        ("server's memory for each agent", "KiB", lambda m: m.memory, 40.0),
        ("server's processor time for a change", "ms", lambda m: m.per_change * 1000, None),
        ("server's processor while nothing changes", "% of a core", lambda m: m.idle * 100, None),
        ("bytes of a change to an agent, as sent", "bytes", lambda m: m.bytes, None),
        ("bytes of an agent's first state, as sent", "KiB", lambda m: m.first / KIB, None),
    ):  # fmt: skip
        yield from grown(
            (m.agents, _row(f"{what}, {m.agents:,} agents", unit, value(m), most, m.agents)) for m in found
        )


def _row(name: str, unit: str, value: float, most: float | None, agents: int) -> Row:
    aim = Aim(most=most) if most is not None and agents >= AIM_SIZE else None
    return Row(
        name=name, unit=unit, ours=value, aim=str(aim) if aim else "", met=aim.is_met(value) if aim else None
    )


def measured(
    agents: int, *, replicas: int = 1, changes: int = CHANGES, idle_seconds: float = IDLE_SECONDS
) -> Measured:
    """One size, from an empty database: SQLite of one replica, PostgreSQL of several. Figures of servers are sums."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite+aiosqlite:///{folder / 'intent.db'}"
        if replicas > 1:
            url = stack.enter_context(postgresql())
        _python("federation", url, str(agents), str(folder / "credentials"))
        certificate(folder)
        credentials = json.loads((folder / "credentials").read_text())
        ports = [free_port() for _ in range(replicas)]
        files = (str(folder / "cert.pem"), str(folder / "key.pem"))
        servers = [stack.enter_context(_started("server", str(port), url, *files)) for port in ports]
        tokens = [server.stdout.readline().strip() for server in servers]
        ask = _asker(folder, ports[0], tokens[0])
        alone = sum(_memory(server.pid) for server in servers)
        crowds = []
        for number, port in enumerate(ports):
            part = folder / f"credentials-{number}"
            part.write_text(json.dumps(credentials[number::replicas]))
            crowds.append(stack.enter_context(_started("crowd", "127.0.0.1", str(port), files[0], str(part))))
        ready = [crowd.stdout.readline().split() for crowd in crowds]
        cold = max(float(words[1]) for words in ready)
        first, losses = (sum(int(words[n]) for words in ready) for n in (2, 3))

        def ticks() -> float:
            return sum(_ticks(server.pid) for server in servers)

        before = ticks()
        time.sleep(idle_seconds)  # noqa: TID251 - a measurement in the foreground
        idle = (ticks() - before) / idle_seconds
        memory = (sum(_memory(server.pid) for server in servers) - alone) / agents
        writes, before = {}, ticks()
        for number in range(changes):
            began = time.monotonic()
            writes[ask(federation.policy("p0", 9000 + number))] = began
            time.sleep(BETWEEN)  # noqa: TID251 - a measurement in the foreground
        spent = ticks() - before - idle * (BETWEEN * changes)
        told = [json.loads(crowd.communicate("\n", timeout=60)[0]) for crowd in crowds]
        times: dict[int, list[float]] = {}
        for one in told:
            for revision, listed in one["times"].items():
                times.setdefault(int(revision), []).extend(listed)
        late = [at - began for revision, began in writes.items() for at in times.get(revision, ())]
        losses += sum(one["losses"] for one in told)
        missing = [revision for revision in writes if len(times.get(revision, ())) < agents]
        if missing:
            raise RuntimeError(
                f"of revisions {missing} not every agent has heard within {BETWEEN} s: {losses} losses"
            )
        late.sort()
        latencies = {"p50": statistics.median(late), "p99": late[int(len(late) * 0.99)], "last": late[-1]}
        return Measured(
            agents=agents, cold=cold, first=first / agents, latencies=latencies, per_change=spent / changes, idle=idle, memory=memory / KIB,
            bytes=sum(one["bytes"] for one in told) / agents / changes, losses=losses,
        )  # fmt: skip


@contextmanager
def postgresql() -> Iterator[str]:
    """A real server without fsync, as the tests have; its URL."""
    with tempfile.TemporaryDirectory(prefix="causeway-pg-") as folder:
        server = Server(Path(folder))
        server.make()
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def certificate(folder: Path) -> None:
    """A key and a certificate that signs itself, for loopback."""
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    words += [
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "cert.pem"),
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    subprocess.run(words, check=True, capture_output=True)


def _asker(folder: Path, port: int, token: str) -> Any:
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))

    def ask(document: dict[str, Any]) -> int:
        request = urllib.request.Request(
            f"https://localhost:{port}/api/v1/apply", json.dumps({"items": [document]}).encode(), method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return int(json.load(answer)["revision"])

    return ask


def _python(module: str, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", f"benchmarks.fanout.{module}", *words], check=True, timeout=PATIENCE
    )


@contextmanager
def _started(module: str, *words: str) -> Iterator[Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.fanout.{module}", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    """That nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * KIB


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
