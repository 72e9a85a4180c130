"""The main job, shown and asserted step by step; torn down at the end, whatever happens."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from api.lab import build
from api.lab.federation import Lab, claim, must_be_root
from api.lab.reach import Matrix
from api.lab.show import OUT, build_up, ends_cleanly_when_told
from api.lab.show import compare as compare_and_show
from api.lab.topology import CONTROL_ADDRESS, PORT, Topology, Workload
from federation.errors import DriverError

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "pci-isolation.yaml"
WIREGUARD_PORT, UDP = 51820, 17


def demo(wanted: Topology, keep: bool) -> None:
    """All steps. Raises DriverError at the first that does not hold."""
    must_be_root()
    ends_cleanly_when_told()
    began = time.monotonic()
    lab = claim(wanted)
    is_kept = False
    try:
        OUT.rule("1, 2: control plane, two clusters, four nodes that joined, eight workloads")
        build_up(lab)
        OUT.print(
            f"control plane  {lab.url}\nconsole        {lab.url}/console/\nadmin token    {lab.token_file}"
        )
        steps(lab)
        OUT.rule(f"[green]7: all steps held, in {time.monotonic() - began:.0f} s")
        is_kept = keep
    finally:
        if not is_kept:
            build.down(wanted.name)
    if is_kept:
        OUT.print(f"kept: {lab.environment}\nend it with: causeway lab down --name {wanted.name}")
    else:
        OUT.print("torn down: no namespace, process, pin or file is left of it")


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
    """Measure, show, and hold against the pure engine, cell by cell."""
    found = compare_and_show(lab)
    wrong = found.wrong
    _assert(
        not wrong,
        f"{len(wrong)} of {len(found.measured)} cells differ from the engine's prediction: {wrong[:5]}",
    )
    return found.measured


def _causeway(lab: Lab, *words: str) -> None:
    OUT.print(f"$ causeway {' '.join(words)}", style="bold")
    environment = {
        **os.environ,
        "CAUSEWAY_SERVER": lab.url,
        "CAUSEWAY_CA_FILE": str(lab.ca_file),
        "CAUSEWAY_TOKEN_FILE": str(lab.token_file),
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
