"""The demo as a user runs it, and what is left of a lab that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel
CAUSEWAY = [sys.executable, "-m", "api.cli.main"]


@pytest.fixture(autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("root and /dev/net/tun are needed for a lab")


def left(name: str) -> list[str]:
    places = [
        *Path("/run/netns").glob(f"cw-{name}-*"),
        Path("/run/causeway/labs") / name,
        Path("/sys/fs/bpf/causeway") / name,
    ]
    processes = [
        pid for pid in os.listdir("/proc") if pid.isdigit() and name.encode() in command_line(pid) and int(pid) != os.getpid()
    ]  # fmt: skip
    return [str(place) for place in places if place.exists()] + processes


def command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def places() -> set[str]:
    folders = (
        Path("/run/netns"),
        Path("/run/causeway/labs"),
        Path("/sys/fs/bpf/causeway"),
        Path("/var/run/wireguard"),
    )
    return {str(path) for folder in folders if folder.exists() for path in folder.iterdir()}


@pytest.mark.parametrize("seconds", [2, 7, 12])
def test_an_interrupted_demo_leaves_nothing(seconds: int) -> None:
    before = places()
    words = ["timeout", "--signal=INT", str(seconds), *CAUSEWAY, "demo"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 124
    assert "Traceback" not in done.stderr
    assert places() <= before


def test_every_step_of_the_demo_holds_and_it_leaves_nothing() -> None:
    before = places()
    done = subprocess.run([*CAUSEWAY, "demo"], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "revision" in done.stdout
    assert "enforced on 4 of 4 nodes" in done.stdout
    assert done.stdout.count("112 of 112 cells as the policy engine predicts") == 4
    assert places() <= before


@pytest.mark.parametrize("step", ["netns", "server", "agent"])
def test_a_lab_killed_while_it_came_up_is_cleaned_by_down(step: str) -> None:
    name = f"k{os.getpid() % 1000}{step[0]}"
    marks = {
        "netns": Path(f"/run/netns/cw-{name}-dc1-n1"),
        "server": Path(f"/run/causeway/labs/{name}/server/admin.token"),
        "agent": Path(f"/run/causeway/labs/{name}/cw-{name}-aws1-n1/credential"),
    }
    building = subprocess.Popen([*CAUSEWAY, "lab", "up", "--name", name, "--nodes", "1", "--workloads", "1"])
    try:
        while not marks[step].exists():
            assert building.poll() is None, "the lab ended before it was killed"
        building.send_signal(signal.SIGKILL)
        building.wait()
        assert left(name)
    finally:
        subprocess.run([*CAUSEWAY, "lab", "down", "--name", name], check=True)
    assert left(name) == []


def test_two_labs_stand_side_by_side_and_one_name_is_taken_once() -> None:
    names = [f"t{os.getpid() % 1000}{letter}" for letter in "ab"]
    small = ["--nodes", "1", "--workloads", "1"]
    try:
        for name in names:
            subprocess.run([*CAUSEWAY, "lab", "up", "--name", name, *small], check=True, capture_output=True)
        again = subprocess.run(
            [*CAUSEWAY, "lab", "up", "--name", names[0], *small], capture_output=True, text=True, check=False
        )
        assert again.returncode == 1
        assert "stands already" in again.stderr
        assert left(names[0])
    finally:
        for name in names:
            subprocess.run([*CAUSEWAY, "lab", "down", "--name", name], check=True)
    assert [left(name) for name in names] == [[], []]
