"""The main job, shown and asserted step by step; torn down at the end, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from api.lab import build
from api.lab.federation import Lab, Matrix, must_be_root, up
from api.lab.topology import CONTROL_ADDRESS, PORT, Workload, topology
from federation.errors import DriverError

OUT = Console(soft_wrap=True)
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "pci-isolation.yaml"
WIREGUARD_PORT, UDP = 51820, 17


def demo(keep: bool, name: str = "") -> None:
    """All steps. Raises DriverError at the first that does not hold."""
    must_be_root()
    name = name or uuid.uuid4().hex[:5]
    if (build.LABS / name).exists():
        raise DriverError(
            f"lab {name} stands already", hint=f"causeway lab down --name {name}, or another --name"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        OUT.rule("1, 2: control plane, two clusters, four nodes that joined, eight workloads")
        with OUT.status("building") as line:
            lab = up(topology(name), on_step=line.update)
        url = f"http://127.0.0.1:{lab.port}"
        OUT.print(
            f"control plane {url}   console {url}/console/   admin token {lab.folder}/server/admin.token"
        )
        steps(lab)
        OUT.rule(f"[green]all steps held, in {time.monotonic() - began:.0f} s")
        if keep:
            OUT.print(
                f"kept: CAUSEWAY_SERVER=http://127.0.0.1:{lab.port} CAUSEWAY_TOKEN_FILE={lab.folder}/server/admin.token"
            )
            OUT.print(f"end it with: causeway lab down --name {name}")
    except BaseException:
        build.down(name)
        raise
    if not keep:
        build.down(name)
        if build.standing(name):
            raise DriverError(f"tear-down left {build.standing(name)}")


def steps(lab: Lab) -> None:
    """Steps 3 to 6."""
    OUT.rule("3: nothing crosses clusters")
    matrix = compare(lab)
    _assert(
        not any(up for (a, b, _), up in matrix.items() if _cluster(a) != _cluster(b)),
        "a connection crossed clusters",
    )

    OUT.rule("4: a link")
    _causeway(lab, "link", "create", "dc1", "aws1", "--mode", "wireguard", "--wait")
    with subprocess.Popen(build.inside(lab.topology.router, *build.python("api.lab.workload", "capture", "8")), stdout=subprocess.PIPE, text=True) as tap:  # fmt: skip
        _assert(tap.stdout is not None and tap.stdout.readline() == "ready\n", "the capture did not start")
        _assert(all(compare(lab).values()), "a connection failed across the link")
        seen = [tuple(packet) for packet in json.loads(tap.communicate(timeout=30)[0])]
    others = [p for p in seen if CONTROL_ADDRESS not in p and not (p[0] == UDP and p[3] == WIREGUARD_PORT)]
    wireguard = [p for p in seen if p[0] == UDP and p[3] == WIREGUARD_PORT]
    OUT.print(
        f"between clusters the underlay carried {len(wireguard)} kinds of WireGuard packets, {len(others)} others"
    )
    _assert(bool(wireguard) and not others, f"the underlay carried {others}")

    OUT.rule("5: one policy for both clusters; a live connection that it denies, one that it allows")
    web, api, db = _workload(lab, "dc1", "web"), _workload(lab, "dc1", "api"), _workload(lab, "aws1", "db")
    denied, allowed = _live(web, db), _live(api, db)
    _causeway(lab, "apply", "-f", str(EXAMPLE), "--wait")
    compare(lab)

    OUT.rule("6: cut, and not cut: control plane and an agent killed (-9) and started again")
    cut = _result(denied)
    OUT.print(f"denied: {cut}")
    _assert(cut["lost"] > 0, "a denied live connection went on")
    node = next(n for n in lab.topology.nodes if (n.cluster, n.name) == (api.cluster, api.node))
    lab.kill("server")
    time.sleep(1)  # noqa: TID251 - the outage that is shown
    lab.kill(node.netns)
    time.sleep(1)  # noqa: TID251 - the outage that is shown
    lab.start_control_plane()
    lab.start_agent(node)
    revision = lab.client.ask("POST", "/api/v1/apply", {"items": [{"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": "later"}, "spec": {"order": 900}}]})["revision"]  # fmt: skip
    lab.wait_enforced(revision)
    went_on = _result(allowed)
    OUT.print(f"allowed: {went_on}")
    _assert(went_on["lost"] == 0 and went_on["good"] > 50, "an allowed live connection lost a probe")
    compare(lab)


def compare(lab: Lab) -> Matrix:
    """Measure, print, and hold against the pure engine, cell by cell."""
    measured, predicted = lab.measured(), lab.predicted()
    print_matrix(lab, measured)
    wrong = sorted(cell for cell in measured if measured[cell] != predicted[cell])
    _assert(
        not wrong, f"{len(wrong)} of {len(measured)} cells differ from the engine's prediction: {wrong[:5]}"
    )
    OUT.print(f"{len(measured)} of {len(measured)} cells as the policy engine predicts")
    return measured


def print_matrix(lab: Lab, measured: Matrix) -> None:
    """The table: from each row to each column, TCP then UDP."""
    paths = [w.path for w in lab.topology.workloads]
    table = Table(title="who reaches whom (TCP UDP)", box=None)
    for column in ("from \\ to", *paths):
        table.add_column(column.replace("/", "\n"))
    marks = {True: "[green]+[/]", False: "[red]-[/]"}
    for source in paths:
        cells = [
            "." if a == source else marks[measured[source, a, "TCP"]] + marks[measured[source, a, "UDP"]]
            for a in paths
        ]
        table.add_row(source, *cells)
    OUT.print(table)


def _causeway(lab: Lab, *words: str) -> None:
    OUT.print(f"$ causeway {' '.join(words)}", style="bold", highlight=False)
    environment = {
        **os.environ,
        "CAUSEWAY_SERVER": lab.client.server,
        "CAUSEWAY_TOKEN_FILE": f"{lab.folder}/server/admin.token",
    }
    done = subprocess.run(
        build.python("api.cli.main", *words), env=environment, capture_output=True, text=True, check=False
    )
    OUT.print(done.stdout.rstrip())
    _assert(done.returncode == 0, f"causeway {words[0]} failed: {done.stderr}")


def _live(source: Workload, destination: Workload) -> "subprocess.Popen[str]":
    words = build.python("api.lab.workload", "live", destination.address, str(PORT))
    process = subprocess.Popen(
        build.inside(source.netns, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    _assert(
        process.stdout is not None and process.stdout.readline() == "ready\n",
        "a live connection did not open",
    )
    return process


def _result(live: "subprocess.Popen[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live.communicate("", timeout=10)[0])
    return found


def _workload(lab: Lab, cluster: str, name: str) -> Workload:
    return next(w for w in lab.topology.workloads if (w.cluster, w.name) == (cluster, name))


def _cluster(path: str) -> str:
    return path.split("/")[0]


def _assert(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DriverError(f"the demo found a fault: {otherwise}")
