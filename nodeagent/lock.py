"""One agent a node: whoever holds the state directory and the folder of pins. The kernel lets go of both when the process ends, however it does."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from federation.errors import Conflict, InvalidInput
from nodeagent.dataplane.ebpf.bpf import is_bpffs

FILE = "agent.lock"
LINK = "holder"
"""In the folder of pins: a bpffs keeps no text but a symbolic link's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, for people."""

    pid: int
    since: str
    """ISO 8601, UTC."""
    state_dir: str
    pin_dir: str

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}, with --state-dir {self.state_dir} and pins in {self.pin_dir}"


@contextmanager
def alone(state_dir: Path, pin_dir: Path, now: datetime) -> Iterator[None]:
    """Be the only agent of a state directory, and of a folder of pins, as long as the context lasts. Raises Conflict, naming the other one."""
    own = Holder(
        pid=os.getpid(), since=now.isoformat(timespec="seconds"), state_dir=str(state_dir.absolute()), pin_dir=str(pin_dir)
    )  # fmt: skip
    text = json.dumps(asdict(own))
    with ExitStack() as stack:
        file = _opened(state_dir / FILE, os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, file)
        _take(file, state_dir, lambda: os.pread(file, 4096, 0).decode())
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)
        folder = _folder(pin_dir)
        if folder is not None:
            stack.callback(os.close, folder)
            link = pin_dir / LINK
            _take(folder, pin_dir, lambda: os.readlink(link))
            with suppress(OSError):
                link.unlink(missing_ok=True)
                link.symlink_to(text)
        yield


def _take(descriptor: int, place: Path, told: Callable[[], str]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        try:
            other = str(Holder(**json.loads(told())))
        except (OSError, ValueError, TypeError):
            other = "it has not said which yet"
        hint = "stop that one first; or give this one a state directory and a pin_dir of its own"
        raise Conflict(f"another agent holds {place}: {other}", hint=hint) from error


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "the agent's files are its user's alone: run as root"
        raise InvalidInput(f"{path}: {error.strerror or error}", hint=hint) from error


def _folder(pin_dir: Path) -> int | None:
    """The folder of pins; None where there can be none (the driver says why)."""
    if not is_bpffs(pin_dir):
        return None
    try:
        pin_dir.mkdir(parents=True, exist_ok=True)
        return os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
