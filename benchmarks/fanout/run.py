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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fanout import federation
from benchmarks.rows import Aim, Row, grown, show, write

AREA = "fanout"
SIZES = (500, 1000, 2000, 4000, 8000)
CHANGES, BETWEEN = 20, 1.5
"""Changes that are measured, and seconds between them."""
IDLE_SECONDS = 20
AIM_SIZE = 5000
PATIENCE = 300
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
    """KiB of the server for each agent."""
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


def measured(agents: int) -> Measured:
    """One size, from an empty database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite+aiosqlite:///{folder / 'intent.db'}"
        _python("federation", url, str(agents), str(folder / "credentials"))
        certificate(folder)
        port = _free_port()
        server = stack.enter_context(
            _started("server", str(port), url, str(folder / "cert.pem"), str(folder / "key.pem"))
        )
        token = server.stdout.readline().strip()
        ask = _asker(folder, port, token)
        alone = _memory(server.pid)
        crowd = stack.enter_context(
            _started("crowd", "127.0.0.1", str(port), str(folder / "cert.pem"), str(folder / "credentials"))
        )
        _, cold, first, losses = crowd.stdout.readline().split()
        memory = (_memory(server.pid) - alone) / agents
        before = _ticks(server.pid)
        time.sleep(IDLE_SECONDS)  # noqa: TID251 - a measurement in the foreground
        idle = (_ticks(server.pid) - before) / IDLE_SECONDS
        writes, before = {}, _ticks(server.pid)
        for number in range(CHANGES):
            began = time.monotonic()
            writes[ask(federation.policy("p0", 9000 + number))] = began
            time.sleep(BETWEEN)  # noqa: TID251 - a measurement in the foreground
        spent = _ticks(server.pid) - before - idle * (BETWEEN * CHANGES)
        told = json.loads(crowd.communicate("\n", timeout=60)[0])
        times = {int(revision): listed for revision, listed in told["times"].items()}
        late = [at - began for revision, began in writes.items() for at in times.get(revision, ())]
        missing = [revision for revision in writes if len(times.get(revision, ())) < agents]
        if missing:
            raise RuntimeError(
                f"of revisions {missing} not every agent has heard within {BETWEEN} s: {told['losses']} losses"
            )
        late.sort()
        latencies = {"p50": statistics.median(late), "p99": late[int(len(late) * 0.99)], "last": late[-1]}
        return Measured(
            agents=agents, cold=float(cold), first=int(first) / agents, latencies=latencies, per_change=spent / CHANGES, idle=idle, memory=memory / KIB,
            bytes=told["bytes"] / agents / CHANGES, losses=int(losses) + told["losses"],
        )  # fmt: skip


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
        process.wait()


def _free_port() -> int:
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
