"""Never down: packets without a pause through a thousand changes of policy, fifty agents killed, and one upgrade of the programs."""

import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.upkeep import generations
from tests.kernel.continuous.agents import LIVES
from tests.kernel.continuous.turns import RECEIVER, SENDERS, Turn, turns

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "tests" / "kernel" / "continuous"
SEED = int(os.environ.get("CAUSEWAY_TEST_SEED", "20261"))
TURNS = 1000
BEFORE = LIVES // 2
"""Lives of the older release."""
SLACK = 100_000_000
"""Nanoseconds that a packet may lie on a busy processor before it is judged."""


@dataclass
class Log:
    """When each turn began and ended, as its agents said."""

    began: list[tuple[int, int]] = field(default_factory=list)
    """(moment, turn), in the order of moments."""
    ended: list[tuple[int, int]] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    """Signals that ended agents."""
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Log":
        """Turn 0 was enforced before anything was sent."""
        log = cls(began=[(0, 0)], ended=[(0, 0)])
        for line in path.read_text().splitlines():
            word, number, rest = line.split(" ", 2)
            if word == "wrong":
                log.wrong.append(rest)
            elif word == "killed":
                log.killed.append(int(number))
            else:
                (log.began if word == "begin" else log.ended).append((int(rest), int(number)))
        return log

    def possible(self, before: int, after: int) -> range:
        """Turns that may have judged a packet which was sent between two moments."""
        first = self.ended[max(bisect_left(self.ended, (before - SLACK, 0)) - 1, 0)][1]
        last = self.began[bisect_right(self.began, (after + SLACK, TURNS)) - 1][1]
        return range(first, last + 1)


def release(folder: Path, remark: str) -> Path:
    """This release's code, with programs that are not quite the same."""
    for package in ("nodeagent", "federation", "tunnels"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = folder / "nodeagent/dataplane/ebpf/programs/endpoint.c"
    program.write_text(f"{program.read_text()}\n// {remark}\n")
    return folder


def environment(code: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{code}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}


def agents(node: Any, code: Path, log: Path, first: int, number: int) -> None:
    words = [sys.executable, str(PARTS / "agents.py"), str(node.pin_dir), str(node.state_dir)]
    words += [str(n) for n in (SEED, TURNS, first, number)] + [str(log)]
    command = ["nsenter", f"--net=/run/netns/{node.name}", *words]
    process = subprocess.Popen(command, cwd=code, env=environment(code), text=True)
    node.started.append(process)
    assert process.wait(timeout=120) == 0


def in_pod(node: Any, pod: int, script: str, *words: str) -> subprocess.Popen[str]:
    command = ["nsenter", f"--net=/run/netns/{node.pod(pod)}", sys.executable, str(PARTS / script), *words]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    node.started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def told(process: subprocess.Popen[str]) -> Any:
    """End a sender or receiver; what it says."""
    said, _ = process.communicate(timeout=30)
    return json.loads(said)


@pytest.fixture
def standing(node: Any) -> list[Turn]:
    """All turns; the first of them is enforced."""
    made, driver = turns(SEED, TURNS), EbpfDriver(node.pin_dir, node.state_dir)
    with node.entered():
        assert driver.converge(made[0].desired) == ()
    driver.close()
    return made


def test_no_packet_is_judged_by_half_a_policy_and_none_that_is_allowed_is_lost(
    node: Any, standing: list[Turn], tmp_path: Path
) -> None:
    receiver = in_pod(node, RECEIVER, "receiver.py", str(node.address(RECEIVER)))
    senders = [
        in_pod(node, pod, "sender.py", str(node.address(RECEIVER)), "flip" if pod == 1 else "steady")
        for pod in SENDERS
    ]
    path = tmp_path / "agents.log"
    former = {path.name for path in generations.folders(node.pin_dir)}
    agents(node, ROOT, path, 0, BEFORE)
    newer = release(tmp_path / "newer", "another text is another generation")
    agents(node, newer, path, BEFORE, LIVES - BEFORE)
    said = [told(sender) for sender in senders]
    seen = told(receiver)

    log = Log.read(path)
    assert log.wrong == []
    assert log.killed == [9] * LIVES
    assert {number for _, number in log.began} >= set(range(1, TURNS)) - skipped(log)
    assert former.isdisjoint(path.name for path in generations.folders(node.pin_dir)), "it was no upgrade"
    for each in said:
        assert min(each["sent"].values()) > 100, each["sent"]
        assert each["lost"] == dict.fromkeys(each["lost"], 0)
        assert each["let_in"] == 0
        assert each["stream"], "the lasting connection was cut, or said something else"
        assert each["gaps"] == 0
    assert (seen["never"], seen["accepted"], seen["gaps"]) == ([], 0, 0)
    check_flips(log, standing, said[0]["flips"], set(seen["flip"]))


def skipped(log: Log) -> set[int]:
    """Turns that no agent made: the one after a kill."""
    numbers = [number for _, number in log.began]
    return {was + 1 for was, now in pairwise(numbers) if now == was + 2}


def check_flips(log: Log, made: list[Turn], sent: list[tuple[int, int]], seen: set[int]) -> None:
    """Each packet was judged by a policy that stood, or was about to; most could be judged one way only."""
    decided = 0
    for number, (before, after) in enumerate(sent):
        may = {made[turn].flip for turn in log.possible(before, after)}
        assert (number in seen) in may, f"packet {number} of turns {log.possible(before, after)}"
        decided += len(may) == 1
    assert decided > len(sent) / 2
