"""What an agent says of itself on its own machine: one file, whole at any moment, read back by `causeway agent status`."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from federation.errors import InvalidInput, NotFound, Unavailable

FILE = "status.json"
FORMAT = 1
Faults = tuple[tuple[str, str, str], ...]
"""(key, reason, message) of what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """One moment of an agent. Times are aware."""

    pid: int
    cluster: str
    node: str
    started: datetime
    process_birth: str = ""
    """The process's start in clock ticks since boot (proc(5), field 22): tells it from a later one with the same number."""
    connected_since: datetime | None = None
    """None: the control plane is away; what was wanted last stays enforced."""
    certificate_expires: datetime | None = None
    """When the node's certificate ends; None: it has none."""
    clock_skew_seconds: float | None = None
    """How much the control plane's clock is ahead of this node's; None: not known. Beyond five minutes new certificates are not valid yet here."""
    last_error: str = ""
    """Newest error of any part, kept after it has passed."""
    last_error_at: datetime | None = None
    revision_wanted: int = 0
    """Newest revision that the control plane (or the cache) told."""
    revision_enforced: int = 0
    """Revision of the last finished round; `faults` says what of it the kernel does not carry out."""
    faults: Faults = ()
    """Everything that is wrong now."""
    drifts: int = 0
    """How often something of ours was found altered by hand, and put right, since the start."""
    last_drift: str = ""
    """What was found the last time."""
    last_drift_at: datetime | None = None
    drivers: Mapping[str, str] = field(default_factory=dict)
    """Part (policy, tunnels, routes) to the name of what makes it so."""
    cache: str = "ok"
    """`ok`, or why the next start would not have the newest state."""


class StatusBook:
    """Where the agent's jobs note what they know; `on_change` gets every new whole."""

    def __init__(
        self, status: AgentStatus, now: Callable[[], datetime], on_change: Callable[[AgentStatus], None]
    ) -> None:
        self.status = status
        self._now = now
        self._on_change = on_change
        self._faults: dict[str, Faults] = {}

    def note(self, **changes: Any) -> None:
        """Fields of AgentStatus that have a new value."""
        self.status = replace(self.status, **changes)
        self._on_change(self.status)

    def went_wrong(self, message: str, **changes: Any) -> None:
        """The newest error, and what it changed."""
        self.note(last_error=message, last_error_at=self._now(), **changes)

    def blame(self, source: str, faults: Faults) -> bool:
        """Replace what one source (the round, the cache …) finds wrong; True when that is news."""
        if self._faults.get(source, ()) == faults:
            return False
        self._faults[source] = faults
        self.note(faults=tuple(fault for source in sorted(self._faults) for fault in self._faults[source]))
        return True


def load_status(state_dir: Path) -> AgentStatus:
    """What the running agent of this state directory says. Raises NotFound when none ever ran there, InvalidInput when the
    file is not readable, Unavailable when the agent that wrote it is not running any more."""
    status = read_status(state_dir)
    if not _is_alive(status):
        raise Unavailable(
            f"the agent of {status.cluster}/{status.node} (process {status.pid}) is not running; "
            f"it enforced revision {status.revision_enforced} last, and the kernel goes on with that",
            hint=f"start it: causeway agent --state-dir {state_dir}",
        )
    return status


def read_status(state_dir: Path) -> AgentStatus:
    """The last words of an agent, running or not. Raises NotFound or InvalidInput."""
    path = state_dir / FILE
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError("it is of another version")
        return _status_of(content)
    except FileNotFoundError as error:
        hint = f"start it: causeway agent --state-dir {state_dir}; or name its folder with --state-dir"
        raise NotFound(f"no agent has run in {state_dir}", hint=hint) from error
    except OSError as error:
        raise InvalidInput(
            f"{path}: {error.strerror or error}", hint="the agent's files are its user's alone: ask as root"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        hint = "a running agent writes it anew within a minute: is agent and command line the same release?"
        raise InvalidInput(f"{path} is not an agent's status: {error}", hint=hint) from error


def write_status(state_dir: Path, status: AgentStatus) -> None:
    """Replace the file in one step; no flush to disk, because after a crash nobody is alive whom it could speak of.
    Raises Unavailable."""
    path = state_dir / FILE
    fresh = path.with_suffix(".new")
    body = json.dumps({"format": FORMAT, **asdict(status)}, default=datetime.isoformat, indent=1)
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(body + "\n")
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} was not written: {error.strerror or error}") from error


def birth_of(pid: int) -> str:
    """When a process began (see `AgentStatus.process_birth`); empty when there is none, or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[
        19
    ]  # the name before ")" may hold spaces; field 22 is the 20th after it


def _is_alive(status: AgentStatus) -> bool:
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    except OverflowError:
        return False
    return not status.process_birth or birth_of(status.pid) in ("", status.process_birth)


def _status_of(content: dict[str, Any]) -> AgentStatus:
    known = {f.name for f in fields(AgentStatus)}
    if set(content) != known:
        raise ValueError(f"fields are missing or unknown: {', '.join(sorted(known ^ set(content)))}")
    for name, kind in (
        ("pid", int),
        ("drifts", int),
        ("revision_wanted", int),
        ("revision_enforced", int),
        ("drivers", dict),
    ):
        if not isinstance(content[name], kind):
            raise TypeError(f"{name} is {content[name]!r}")
    if content["pid"] <= 0:
        raise ValueError(f"pid is {content['pid']}")
    for name in ("started", "connected_since", "last_error_at", "last_drift_at"):
        moment = content[name]
        content[name] = datetime.fromisoformat(moment) if moment is not None or name == "started" else None
    if ends := content.get("certificate_expires"):
        content["certificate_expires"] = datetime.fromisoformat(ends)
    content["faults"] = tuple((str(key), str(reason), str(said)) for key, reason, said in content["faults"])
    return AgentStatus(**content)
