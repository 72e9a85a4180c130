"""Runs in the node's namespace: agents one after the other, each makes some turns and is killed (SIGKILL) in the middle of its last.

`python agents.py PINS STATE SEED COUNT FIRST_LIFE LIVES LOG`: a fork of this process is an agent's process; it has the driver of the release that
is first on the path. The log says of each turn when it began and when it ended, and what was found wrong.
"""

import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.writes import Write
from tests.kernel.continuous.turns import Turn, turns

LIVES = 50


@dataclass(frozen=True)
class Life:
    """Turns `first`…`last`; dies at write `at` of the last one, or (0) so many seconds after it has begun."""

    first: int
    last: int
    at: int
    after: float


def lives(seed: int, count: int) -> list[Life]:
    chance = Random(seed + 1)
    ends = [*sorted(chance.sample(range(2, count - 2), LIVES - 1)), count - 1]
    made, first = [], 1
    for end in ends:
        at = chance.choice((0, 0, 1, 2, 3, 4, 6, 9))
        made.append(Life(first, max(first, end), at, chance.random() * 0.03))
        first = max(first, end) + chance.choice((0, 1))  # the next one makes the same turn, or one more
    return made


class Mortal(EbpfDriver):
    """Ends itself before a write."""

    left = 0

    def _do(self, write: Write) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._do(write)


def live(life: Life, made: list[Turn], chance: Random, log: int, bell: int) -> None:
    driver = Mortal(Path(sys.argv[1]), Path(sys.argv[2]))
    for number in range(life.first, min(life.last + 1, len(made))):
        if number == life.last:
            driver.left = life.at
            if life.at == 0:
                os.write(bell, b"x")
        os.write(log, b"begin %d %d\n" % (number, time.monotonic_ns()))
        reports = driver.converge(made[number].desired)
        os.write(log, b"end %d %d\n" % (number, time.monotonic_ns()))
        for report in reports:
            os.write(log, b"wrong %d %s\n" % (number, f"{report.key}: {report.message}".encode()))
        select.select([], [], [], chance.random() * 0.02)
    os.write(bell, b"x")  # it had nothing to write any more
    signal.pause()


def main(pins: str, state: str, seed: int, count: int, first: int, number: int, log_path: str) -> None:
    made = turns(seed, count)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for place, life in enumerate(lives(seed, count)[first : first + number], start=first):
        heard, bell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                live(life, made, Random(seed + place), log, bell)
            except BaseException as error:  # noqa: BLE001 - the top of the agent's process: what it died of is said
                os.write(log, b"wrong 0 died: %r\n" % error)
            os._exit(1)
        os.close(bell)
        os.read(heard, 1)
        os.close(heard)
        select.select([], [], [], life.after if life.at == 0 else 0)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.write(log, b"killed %d %d\n" % (os.WTERMSIG(status), time.monotonic_ns()))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:7]), sys.argv[7])
