"""A systemd of the test's own, as the first process of namespaces of its own: the units of deploy/ are started by the real one, beside which no other unit is."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
PATIENCE = 30.0


@dataclass(frozen=True)
class Booted:
    """Commands are run as root there."""

    pid: int
    """Of the systemd, as this machine counts."""

    def run(self, *words: str, text: str = "") -> str:
        """What a command says. Raises AssertionError, with what the units said, when it fails."""
        done = self.tried(*words, text=text)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def tried(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        inside = ["nsenter", "--target", str(self.pid), *NAMESPACES, "--wd=/", "env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]  # fmt: skip
        return subprocess.run([*inside, *words], input=text, capture_output=True, text=True, check=False, timeout=PATIENCE)  # fmt: skip

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def until(self, unit: str, *words: str) -> str:
        """What a command says once it succeeds while a unit comes up."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            done = self.tried(*words)
            if done.returncode == 0:
                return done.stdout
            Event().wait(0.2)
        raise AssertionError(f"{unit}: {words}: {done.stdout}{done.stderr}\n{self.logs()}")

    def logs(self) -> str:
        return self.tried("sh", "-c", "tail -n 30 /run/*.log").stdout


@contextmanager
def booted(folder: Path) -> Iterator[Booted]:
    """Until the end of the block; it sees `folder` as /opt/open. Skips the test where it cannot be."""
    _must_be_possible()
    cgroup = _cgroups() / f"causeway-{uuid.uuid4().hex[:8]}"
    cgroup.mkdir()
    words = ["unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child", "bash", str(ROOT / "tests/deploy/boot.sh"), str(ROOT), sys.prefix, str(folder)]  # fmt: skip
    join = f"echo $$ >{cgroup}/cgroup.procs && exec " + " ".join(words)
    with (folder / "systemd.log").open("wb") as log:
        process = subprocess.Popen(["bash", "-c", join], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    first = None
    try:
        first = _first(process, folder / "systemd.log")
        yield Booted(first)
    finally:
        if first is not None:
            os.kill(first, signal.SIGKILL)  # all in its namespace go with it
        else:
            process.kill()
        process.wait(20)
        _remove(cgroup)


def _first(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """The systemd's number, once it has started what it was to start."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(int(PATIENCE / 0.1)):
        assert process.poll() is None, log.read_text()
        found = children.read_text().split()
        if found:
            one = Booted(int(found[0]))
            if one.tried("systemctl", "is-system-running").stdout.strip() == "running":
                return one.pid
        Event().wait(0.1)
    raise AssertionError(f"systemd does not come up: {log.read_text()}")


def _must_be_possible() -> None:
    if os.geteuid() != 0:
        pytest.skip("root is needed for a systemd of its own")
    if not SYSTEMD.exists():
        pytest.skip("Debian's package systemd is not installed")
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "--mount-proc", "mount", "-t", "cgroup2", "cgroup2", "/mnt"], capture_output=True, text=True, check=False)  # fmt: skip
    if tried.returncode != 0 or not shutil.which("nsenter"):
        pytest.skip(f"no systemd of its own can be started here: {tried.stderr.strip()}")
    for path in (ROOT, Path(sys.prefix)):
        if not path.stat().st_mode & 0o005:
            pytest.skip(f"the units' own users cannot read {path.name}")


def _cgroups() -> Path:
    """Where version 2 of control groups is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    pytest.skip("control groups of version 2 are not mounted here")


def _remove(cgroup: Path) -> None:
    """It is empty once the last process has been reaped."""
    for _ in range(50):
        try:
            for path in sorted(cgroup.rglob("*"), reverse=True):
                if path.is_dir():
                    path.rmdir()
            cgroup.rmdir()
        except OSError:
            Event().wait(0.1)
        else:
            return
