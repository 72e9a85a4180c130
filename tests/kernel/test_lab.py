"""Labs by hand: what stands, who reaches whom, and what is left when the building of one is killed at any step."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.lab.federation import Lab, steps_of
from api.lab.topology import topology

pytestmark = pytest.mark.kernel
CAUSEWAY = [sys.executable, "-m", "api.cli.main"]
TITLES = [step.title for step in steps_of(Lab(topology("any", 1, 1, 1), port=1))]
KILLED_AFTER = """
import os, signal, sys
from api.lab.federation import claim, steps_of
from api.lab.topology import topology
for number, step in enumerate(steps_of(claim(topology(sys.argv[1], 1, 1, 1)))):
    step.take()
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


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
        *(Path(f"/var/run/wireguard/{node.tunnel}.sock") for node in topology(name, 8, 9, 0).nodes),
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


@pytest.mark.parametrize("step", range(len(TITLES)), ids=TITLES)
def test_a_lab_killed_after_any_step_of_its_building_is_cleaned_by_down(step: int) -> None:
    name = f"s{os.getpid() % 10000}x{step}"
    try:
        built = subprocess.run([sys.executable, "-c", KILLED_AFTER, name, str(step)], check=False, timeout=60)
        assert built.returncode == -signal.SIGKILL
        assert left(name)
        assert name in run("lab", "status").stdout
    finally:
        down = run("lab", "down", "--name", name)
    assert down.returncode == 0, down.stderr
    assert left(name) == []


@pytest.mark.parametrize(
    "mark",
    ["/run/netns/cw-{}-dc1-n1", "/run/causeway/labs/{}/server.log", "/run/causeway/labs/{0}/cw-{0}-dc1-n1/identity.pem"],
    ids=["building namespaces", "starting the control plane", "joining"],
)  # fmt: skip
def test_a_lab_killed_in_the_middle_of_a_step_is_cleaned_by_down(mark: str) -> None:
    name = f"m{os.getpid() % 10000}"
    seen = Path(mark.format(name))
    small = ["--clusters", "1", "--nodes", "1", "--workloads", "1"]
    with subprocess.Popen(
        [*CAUSEWAY, "lab", "up", "--name", name, *small], stdout=subprocess.DEVNULL
    ) as building:
        try:
            while not seen.exists():
                assert building.poll() is None, "the lab ended before it was killed"
            building.kill()
            building.wait()
            assert left(name)
        finally:
            building.kill()
            down = run("lab", "down", "--name", name)
    assert down.returncode == 0, down.stderr
    assert left(name) == []


def test_a_lab_that_is_told_to_end_while_it_is_built_tears_itself_down() -> None:
    name = f"t{os.getpid() % 10000}"
    with subprocess.Popen(
        [*CAUSEWAY, "lab", "up", "--name", name], stderr=subprocess.PIPE, text=True
    ) as building:
        try:
            while not Path(f"/run/causeway/labs/{name}/server.log").exists():
                assert building.poll() is None, "the lab ended before it was told to"
            building.terminate()
            _, said = building.communicate(timeout=30)
        finally:
            building.kill()
            run("lab", "down", "--name", name)
    assert building.returncode == 128 + signal.SIGTERM
    assert said == ""
    assert left(name) == []


def test_an_impatient_user_who_presses_ctrl_c_again_and_again_leaves_nothing() -> None:
    name = f"c{os.getpid() % 10000}"
    with subprocess.Popen([*CAUSEWAY, "lab", "up", "--name", name], stderr=subprocess.DEVNULL) as building:
        try:
            while not Path(f"/run/causeway/labs/{name}/server.log").exists():
                assert building.poll() is None, "the lab ended before it was told to"
            while building.poll() is None:
                building.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    building.wait(0.05)
            assert left(name) == []
        finally:
            building.kill()
            run("lab", "down", "--name", name)


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
    assert facts["links"] == []
    assert all(revision > 0 for revision in facts["enforced"].values())
    assert len(facts["enforced"]) == 3


def test_the_matrix_of_a_lab_tells_a_workload_that_does_not_answer_and_exits_with_1(lab: str) -> None:
    netns = f"cw-{lab}-gcp1-api"
    interface = ["lab", "exec", "--name", lab, "gcp1/api", "--", "ip", "link", "set", "eth0"]
    assert run(*interface, "down").returncode == 0
    try:
        done = run("lab", "matrix", "--name", lab)
        assert done.returncode == 1
        assert "differs: gcp1/shop/web to gcp1/shop/api TCP is not reached" in done.stdout
    finally:
        assert run(*interface, "up").returncode == 0
        routes = "route add 169.254.1.1/32 dev eth0\nroute add default via 169.254.1.1 dev eth0\n"
        subprocess.run(["ip", "-n", netns, "-batch", "-"], input=routes, text=True, check=True)


def test_the_matrix_of_three_clusters_is_as_predicted_before_a_link_with_it_and_after(lab: str) -> None:
    def crossing() -> set[tuple[str, str]]:
        done = run("lab", "matrix", "--name", lab, "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        cells = json.loads(done.stdout)
        assert len(cells) == 6 * 5 * 2
        clusters = [(c["from"].split("/")[0], c["to"].split("/")[0]) for c in cells if c["reached"]]
        return {pair for pair in clusters if pair[0] < pair[1]}

    assert crossing() == set()
    environment = environment_of(lab)
    linked = run("link", "create", "dc1", "gcp1", "--wait", **environment)
    assert linked.returncode == 0, linked.stderr
    assert crossing() == {("dc1", "gcp1")}
    parted = run("link", "delete", "dc1-gcp1", "--wait", **environment)
    assert parted.returncode == 0, parted.stderr
    assert crossing() == set()
    routes = run("lab", "exec", "--name", lab, "dc1/n1", "--", "ip", "route", "show", "proto", "202").stdout
    assert routes == ""


def test_policies_of_three_worlds_meet_in_the_kernel_as_predicted(three: str) -> None:
    def reached() -> set[str]:
        done = run("lab", "matrix", "--name", three, "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        return {
            f"{c['from']} {c['protocol']}"
            for c in json.loads(done.stdout)
            if c["reached"] and c["to"] == "aws1/pay/db"
        }

    environment = environment_of(three)
    assert run("link", "create", "dc1", "aws1", "--wait", **environment).returncode == 0
    everybody = {
        f"{c}/shop/{w} {p}" for c in ("dc1", "aws1") for w in ("web", "api", "batch") for p in ("TCP", "UDP")
    }
    assert reached() == everybody | {f"dc1/pay/db {p}" for p in ("TCP", "UDP")}
    words = ("apply", "-f", "examples/three-worlds.yaml", "--cluster", "aws1", "--wait")
    done = run(*words, **environment)
    assert done.returncode == 0, done.stderr
    assert reached() == {"aws1/shop/web TCP", "dc1/shop/web TCP", "dc1/shop/web UDP"}
    listed = run("get", "knp", "-o", "wide", **environment).stdout
    assert "True" in listed
    assert "aws1" in listed
    explained = run("explain", "aws1/shop/batch", "aws1/pay/db", "8080", **environment)
    assert (explained.returncode, "db-across ingressDeny 0: matches: Deny" in explained.stdout) == (1, True)
    assert (
        run(
            "delete", "-f", "examples/three-worlds.yaml", "--cluster", "aws1", "--wait", **environment
        ).returncode
        == 0
    )
    assert len(reached()) == len(everybody) + 2


@pytest.fixture(scope="module")
def three() -> Iterator[str]:
    """Two clusters of one node and four workloads each: one of every role."""
    name = f"w{os.getpid() % 10000}"
    try:
        built = run("lab", "up", "--name", name, "--clusters", "2", "--nodes", "1", "--workloads", "4")
        assert built.returncode == 0, built.stderr
        yield name
    finally:
        assert run("lab", "down", "--name", name).returncode == 0
        assert left(name) == []


def environment_of(name: str) -> dict[str, str]:
    folder = f"/run/causeway/labs/{name}"
    port = json.loads(Path(f"{folder}/lab.json").read_text())["port"]
    return {
        "CAUSEWAY_CA_FILE": f"{folder}/server/ca.pem",
        "CAUSEWAY_SERVER": f"https://127.0.0.1:{port}",
        "CAUSEWAY_TOKEN_FILE": f"{folder}/server/admin.token",
    }


def test_a_command_runs_in_the_network_of_a_workload_and_gives_its_exit_code(lab: str) -> None:
    listed = run(
        "lab", "exec", "--name", lab, "dc1/shop/web", "--", "ip", "-4", "-brief", "address", "show", "eth0"
    )
    assert "10.10.1.10/32" in listed.stdout
    assert run("lab", "exec", "--name", lab, "dc1/n1", "--", "sh", "-c", "exit 7").returncode == 7
    gone = run("lab", "exec", "--name", lab, "dc1/shop/nobody", "--", "true")
    assert gone.returncode == 5
    assert "dc1/shop/web" in gone.stderr


def test_the_status_of_a_lab_tells_a_dead_agent(lab: str) -> None:
    """The last of the tests on this lab: its agent stays dead."""
    pid_file = Path(f"/run/causeway/labs/{lab}/cw-{lab}-aws1-n1.pid")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    (facts,) = json.loads(run("lab", "status", "--name", lab, "-o", "json").stdout)
    assert facts["agents"] == {"dc1/n1": "running", "aws1/n1": "dead", "gcp1/n1": "running"}
    assert "aws1/n1 dead" in run("lab", "status", "--name", lab).stdout


@pytest.mark.parametrize(("option", "count"), [("--clusters", "9"), ("--nodes", "0"), ("--workloads", "21")])
def test_a_lab_of_impossible_size_is_refused_and_nothing_is_made(option: str, count: str) -> None:
    refused = run("lab", "up", "--name", "toobig", option, count)
    assert refused.returncode == 2
    assert f"{option} takes" in refused.stderr
    assert left("toobig") == []
