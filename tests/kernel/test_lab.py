"""Labs by hand: what stands, who reaches whom, and what is left when the building of one is killed at any step."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lab.federation import KILL_AFTER, Lab, steps_of
from api.lab.topology import topology

pytestmark = pytest.mark.kernel
CAUSEWAY = [sys.executable, "-m", "api.cli.main"]
SMALL = topology("count", 1, 1, 1)
STEPS = len(steps_of(Lab(SMALL)))


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("root and /dev/net/tun are needed for a lab")


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CAUSEWAY, *words], capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )  # fmt: skip


def left(name: str) -> list[str]:
    places = [
        *Path("/run/netns").glob(f"cw-{name}-*"), Path("/run/causeway/labs") / name, Path("/sys/fs/bpf/causeway") / name,
    ]  # fmt: skip
    processes = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if f"labs/{name}/".encode() in words or f"cw-{name}-".encode() in words:
            processes.append(pid)
    return [str(place) for place in places if place.exists()] + processes


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_lab_killed_after_any_step_of_its_building_is_cleaned_by_down(step: int) -> None:
    name = f"s{os.getpid() % 10000}x{step}"
    try:
        built = run("lab", "up", "--name", name, "--clusters", "1", "--nodes", "1", "--workloads", "1", **{KILL_AFTER: str(step)})  # fmt: skip
        assert built.returncode == -9, built.stderr
        assert left(name)
    finally:
        down = run("lab", "down", "--name", name)
    assert down.returncode == 0, down.stderr
    assert left(name) == []


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """Three clusters of one node and two workloads each."""
    name = f"l{os.getpid() % 10000}"
    try:
        built = run("lab", "up", "--name", name, "--clusters", "3", "--nodes", "1", "--workloads", "2")
        assert built.returncode == 0, built.stderr
        yield name
    finally:
        assert run("lab", "down", "--name", name).returncode == 0
        assert left(name) == []


def test_the_status_of_a_lab_names_what_is_alive(lab: str) -> None:
    (facts,) = json.loads(run("lab", "status", "--name", lab, "-o", "json").stdout)
    assert facts["controlPlane"] == "running"
    assert facts["agents"] == {f"{cluster}/n1": "running" for cluster in ("dc1", "aws1", "gcp1")}


def test_the_matrix_of_three_clusters_is_as_predicted_before_and_after_a_link(lab: str) -> None:
    def crossing() -> set[tuple[str, str]]:
        done = run("lab", "matrix", "--name", lab, "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        cells = json.loads(done.stdout)
        assert len(cells) == 6 * 5 * 2
        clusters = [(c["from"].split("/")[0], c["to"].split("/")[0]) for c in cells if c["reached"]]
        return {pair for pair in clusters if pair[0] < pair[1]}

    assert crossing() == set()
    folder = f"/run/causeway/labs/{lab}"
    port = json.loads(Path(f"{folder}/lab.json").read_text())["port"]
    environment = {
        "CAUSEWAY_SERVER": f"http://127.0.0.1:{port}",
        "CAUSEWAY_TOKEN_FILE": f"{folder}/server/admin.token",
    }
    linked = run("link", "create", "dc1", "gcp1", "--wait", **environment)
    assert linked.returncode == 0, linked.stderr
    assert crossing() == {("dc1", "gcp1")}


def test_a_command_runs_in_the_network_of_a_workload_and_gives_its_exit_code(lab: str) -> None:
    listed = run(
        "lab", "exec", "--name", lab, "dc1/shop/web", "--", "ip", "-4", "-brief", "address", "show", "eth0"
    )
    assert "10.10.1.10/32" in listed.stdout
    assert run("lab", "exec", "--name", lab, "dc1/n1", "--", "sh", "-c", "exit 7").returncode == 7
    gone = run("lab", "exec", "--name", lab, "dc1/shop/nobody", "--", "true")
    assert gone.returncode == 5
    assert "dc1/shop/web" in gone.stderr


@pytest.mark.parametrize(("option", "count"), [("--clusters", "9"), ("--nodes", "0"), ("--workloads", "21")])
def test_a_lab_of_impossible_size_is_refused_and_nothing_is_made(option: str, count: str) -> None:
    refused = run("lab", "up", "--name", "toobig", option, count)
    assert refused.returncode == 2
    assert f"{option} takes" in refused.stderr
    assert left("toobig") == []
