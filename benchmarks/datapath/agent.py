"""What a node's agent takes: its memory, its processor's time while nothing changes, and how it takes a burst of changes."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from api.lab import build
from benchmarks.datapath.contenders import Contenders
from benchmarks.datapath.told import BURST, CLUSTER, ENDPOINTS, IDENTITIES, NODE
from benchmarks.pods import Pods, pods, start, wait_for
from benchmarks.rows import Aim, Row

PORT = 8440
IDLE_SECONDS, WAIT_SECONDS = 65, 60
"""Idle time holds two resyncs at least."""
PAUSE = Event()
"""Nobody sets it."""
TICKS = os.sysconf("SC_CLK_TCK")


def rows(_: Contenders | None) -> Iterator[Row]:
    """On a node of its own: a real process, which follows a control plane that says one world."""
    with pods() as node, tempfile.TemporaryDirectory() as folder:
        build.ip(
            *(f"link add veth{n} type veth peer name veth{n + 1}" for n in range(0, ENDPOINTS, 2)),
            netns=node.node,
        )
        teller = start(node.node, *build.python("benchmarks.datapath.told", str(PORT)))
        node.started.append(teller)
        wait_for(teller, "ready")
        pid = follow(node, Path(folder))
        at_rest = idle(pid)
        yield memory(pid)
        yield at_rest
        assert teller.stdin is not None
        began = time.monotonic()
        teller.stdin.write("burst\n")
        teller.stdin.flush()
        until(Path(folder), BURST + 1)
        yield Row(
            name=f"agent: {BURST:,} endpoint changes in a burst, one transaction each, until the kernel has the last",
            unit="s",
            ours=time.monotonic() - began,
        )
        yield Row(
            name="agent: resident memory at its highest, after that", unit="MiB", ours=status(pid, "VmHWM")
        )


def follow(node: Pods, folder: Path) -> int:
    """Start the agent; its process, once it enforces the world."""
    facts = {
        "server": f"http://127.0.0.1:{PORT}",
        "cluster": CLUSTER,
        "node": NODE,
        "pin_dir": str(node.pin_dir),
    }
    (folder / "agent.toml").write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
    )
    (folder / "credential").write_text("none\n")
    (folder / "credential").chmod(0o600)
    process = start(node.node, *build.python("api.cli.main", "agent", "--state-dir", str(folder)))
    node.started.append(process)
    until(folder, 1)
    return int(json.loads((folder / "status.json").read_text())["pid"])


def until(folder: Path, revision: int) -> None:
    """Wait until the agent enforces a revision, without faults. Raises TimeoutError with its status."""
    deadline, told = time.monotonic() + WAIT_SECONDS, ""
    while time.monotonic() < deadline:
        if (folder / "status.json").exists():
            told = (folder / "status.json").read_text()
            if json.loads(told)["revision_enforced"] >= revision:
                return
        PAUSE.wait(0.05)
    raise TimeoutError(f"revision {revision} is not enforced: {told}")


def memory(pid: int) -> Row:
    name = f"agent: resident memory, {ENDPOINTS} endpoints and {IDENTITIES:,} identities"
    resident, aim = status(pid, "VmRSS"), Aim(most=60)
    return Row(
        name=name, unit="MiB", ours=resident, aim=str(aim), met=aim.is_met(resident),
        note=f"{status(pid, 'RssAnon'):.0f} its own, the rest is files'; at its highest {status(pid, 'VmHWM'):.0f}",
    )  # fmt: skip


def idle(pid: int) -> Row:
    before = spent(pid)
    PAUSE.wait(IDLE_SECONDS)
    share, aim = (spent(pid) - before) / IDLE_SECONDS * 100, Aim(most=0.5)
    return Row(name=f"agent: processor's time while nothing changes, over {IDLE_SECONDS} s", unit="%", ours=share, aim=str(aim), met=aim.is_met(share), note="two resyncs in it")  # fmt: skip


def status(pid: int, field: str) -> float:
    """A figure of proc(5)'s status, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def spent(pid: int) -> float:
    """Seconds of processor's time so far, its ended children's too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
