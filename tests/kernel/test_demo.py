"""The demo as a user runs it, and what is left of a lab that was killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.lab.topology import topology

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


def sockets(name: str) -> list[str]:
    """WireGuard's sockets that the nodes of such a lab would have."""
    names = [node.tunnel for node in topology(name).nodes]
    return [each for each in names if Path(f"/var/run/wireguard/{each}.sock").exists()]


@pytest.mark.parametrize("seconds", [2, 7, 12])
def test_an_interrupted_demo_leaves_nothing(seconds: int) -> None:
    name = f"i{os.getpid() % 10000}x{seconds}"
    words = ["timeout", "--signal=INT", str(seconds), *CAUSEWAY, "demo", "--name", name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 124
    assert "Traceback" not in done.stderr
    assert left(name) + sockets(name) == []


def test_every_step_of_the_demo_holds_and_it_leaves_nothing() -> None:
    name = f"d{os.getpid() % 10000}"
    words = [*CAUSEWAY, "demo", "--name", name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/console/" in done.stdout
    assert "revision" in done.stdout
    assert "enforced on 4 of 4 nodes" in done.stdout
    assert done.stdout.count("112 of 112 cells as the policy engine predicts") == 4
    assert left(name) + sockets(name) == []


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
