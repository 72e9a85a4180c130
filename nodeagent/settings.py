"""What an agent is told: who the node is, where it keeps things. Defaults < `agent.toml` < environment CAUSEWAY_AGENT_* < flags."""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from federation.errors import Fault, InvalidInput
from federation.policy.failsafe import FAILSAFE, Failsafe, FailsafePort, with_more
from federation.resources.metadata import ObjectKey
from nodeagent.control import identity

ENVIRONMENT_PREFIX = "CAUSEWAY_AGENT_"
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
FLOWS = ("off", "denied", "all")
TCP, UDP = 6, 17
LOCAL_TRAFFIC = ("direct", "stack")
XDP = ("auto", "generic", "off")
INTERFACE = re.compile(r"[^/:\s]{1,15}")


class Secret:
    """A text that no print, log or traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "(secret)" if self._text else "(none)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Who this node is and where it keeps things; `causeway join` writes the first three."""

    server: str
    """URL of the control plane, http or https; no default."""
    cluster: str
    """The cluster that the node joined; no default."""
    node: str
    """The node's name in its cluster; no default."""
    state_dir: Path
    """Folder of certificate, keys, cache and status; given on the command line, never in the file."""
    credential: Secret = field(default_factory=lambda: Secret(""))
    """What joining gave this node where there is no TLS. From the file `credential` (0600) in the state directory only: environments leak."""
    has_certificate: bool = False
    """Whether joining gave it a certificate (`identity.pem`) instead."""
    pin_dir: str = ""
    """Folder of this node's pins below a bpffs; empty: /sys/fs/bpf/causeway/<cluster>-<node>."""
    interface: str = "cw-wg0"
    """WireGuard interface, at most 15 characters (Linux IFNAMSIZ)."""
    listen_port: int = 51820
    """UDP port of WireGuard, 1-65535; the default is the one that firewalls know."""
    resync_seconds: int = 30
    """How often the kernel is read again against drift, 1-3600: a foreign change stands at most this long."""

    local_traffic: str = "direct"
    """How packets go from one endpoint of the node to another: `direct`, past the node's stack, at half the cost; `stack`, for who has
    rules of netfilter that are to see them. What the node translates goes through the stack in either case."""
    xdp: str = "auto"
    """Where what doNotTrack policies deny at interfaces of the node is dropped: `auto`, in the driver, and right behind it where that has no
    XDP; `generic`, behind it; `off`, later, by tc. Some drivers take their link down for a moment when a program is first hung."""
    flows: str = "denied"
    """Which flows are told (`causeway agent flows`): off, denied, or all: connections that begin and end, too, which costs the node about a
    microsecond a connection."""
    flow_sample: int = 1
    """One of so many denied packets is told, 1-1000000: what a flood of them costs."""
    flow_seconds: int = 10
    """Flows that are alike are told as one for so long, 1-3600."""

    metrics: str = ""
    """ADDRESS:PORT where Prometheus is answered; empty: nowhere. Whoever reaches it reads the names of policies."""

    @property
    def pins(self) -> Path:
        """Where pins are."""
        return Path(self.pin_dir or f"/sys/fs/bpf/causeway/{self.cluster}-{self.node}")

    @property
    def key(self) -> ObjectKey:
        """This node."""
        return ObjectKey("Node", self.cluster, "", self.node)

    @property
    def failsafe(self) -> Failsafe:
        """Ports that this node's host endpoints let pass, whatever policy says: without the way to the control plane no policy could
        be put right again."""
        url = urlsplit(self.server)
        tunnels = FailsafePort(UDP, self.listen_port)
        control = FailsafePort(TCP, url.port or (443 if url.scheme == "https" else 80))
        return with_more(FAILSAFE, inbound=(tunnels,), outbound=(tunnels, control))

    def printed(self) -> str:
        """One `key = value` a line, without secrets."""
        return "\n".join(f"{f.name} = {getattr(self, f.name)!s}" for f in fields(self))


Check = Callable[[Any], str]
"""What is wrong with a value of the right type; empty when nothing is."""


def load_settings(
    state_dir: Path, environment: Mapping[str, str] | None = None, **flags: Any
) -> AgentSettings:
    """Read what joining wrote, what the environment says instead, and what flags say that are not empty. Raises InvalidInput with every
    fault."""
    values = _from_file(state_dir / "agent.toml")
    faults = [
        Fault(f"/{key}", f"unknown key of agent.toml; known: {', '.join(TYPES)}")
        for key in sorted(values.keys() - TYPES.keys())
    ]
    faults += _take_environment(values, os.environ if environment is None else environment)
    values |= {name: value for name, value in flags.items() if value}
    for name, kind in TYPES.items():
        if name not in values:
            if name in ("server", "cluster", "node"):
                faults.append(Fault(f"/{name}", "is needed; `causeway join` writes it"))
        elif type(values[name]) is not kind:  # a bool is an int to isinstance, but not to a person
            faults.append(Fault(f"/{name}", f"a {WORDS[kind]} is needed, not {values[name]!r}"))
        elif said := CHECKS[name](values[name]):
            faults.append(Fault(f"/{name}", said))
    if faults:
        raise InvalidInput(
            f"the agent's settings are not valid ({state_dir / 'agent.toml'} and {ENVIRONMENT_PREFIX}*)",
            hint="correct them, or run `causeway join` again",
            faults=faults,
        )
    if identity.load(state_dir) is not None:
        return AgentSettings(state_dir=state_dir, has_certificate=True, **values)
    return AgentSettings(state_dir=state_dir, credential=load_credential(state_dir / "credential"), **values)


def load_credential(path: Path) -> Secret:
    """The node's credential. Raises InvalidInput when it is missing, empty, or not its owner's alone."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"this node has not joined: {path}: {_why(error)}", hint="run: causeway join"
        ) from error
    if mode & 0o077:
        raise InvalidInput(
            f"{path} is open to other users (mode {mode:04o}): whoever read it can act as this node",
            hint=f"run: chmod 600 {path}; if others may have read it, run `causeway join` again for a new one",
        )
    if not text or not text.isascii() or not text.isprintable():
        raise InvalidInput(f"{path} does not hold a credential", hint="run: causeway join")
    return Secret(text)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not TOML: {error}", hint="correct it, or join again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"this node has not joined: {path}: {_why(error)}", hint="run: causeway join"
        ) from error


def _take_environment(values: dict[str, Any], environment: Mapping[str, str]) -> list[Fault]:
    """Put the environment's values over the file's; numbers are parsed here, because all of it is text."""
    faults: list[Fault] = []
    for variable in sorted(v for v in environment if v.startswith(ENVIRONMENT_PREFIX)):
        name, text = variable.removeprefix(ENVIRONMENT_PREFIX).lower(), environment[variable]
        if name not in TYPES or variable != variable.upper():
            known = ", ".join(ENVIRONMENT_PREFIX + key.upper() for key in TYPES)
            faults.append(Fault(f"/{variable}", f"unknown variable; known: {known}"))
        elif TYPES[name] is int and re.fullmatch(r"-?[0-9]{1,18}", text):
            values[name] = int(text)
        else:
            values[name] = text
    return faults


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"


def _is_server(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if is_good and ":" in (parts.hostname or ""):
            ipaddress.IPv6Address(parts.hostname)
    except ValueError:
        is_good = False
    return "" if is_good else f"{value!r} is not a URL like https://control:8440"


def _is_name(value: str) -> str:
    return (
        "" if NAME.fullmatch(value) else f"{value!r} is not a name (lower case letters, digits, '-' and '.')"
    )


def _is_interface(value: str) -> str:
    is_good = INTERFACE.fullmatch(value) and value not in (".", "..")
    return "" if is_good else f"{value!r} is not an interface's name (1-15 characters, no '/', ':' or space)"


def _is_pin_dir(value: str) -> str:
    return "" if not value or value.startswith("/") else f"{value!r} is not an absolute path"


def _is_one_of(choices: tuple[str, ...]) -> Check:
    return lambda value: "" if value in choices else f"{value!r} is none of {', '.join(choices)}"


def _is_place(value: str) -> str:
    address, _, port = value.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
        is_good = port.isascii() and port.isdigit() and 0 < int(port) <= 65535
    except ValueError:
        is_good = False
    return "" if is_good or not value else f"{value!r} is not ADDRESS:PORT like 127.0.0.1:9440 or [::1]:9440"


def _is_within(low: int, high: int) -> Check:
    return lambda value: "" if low <= value <= high else f"{value} is not in {low}-{high}"


CHECKS: dict[str, Check] = {
    "server": _is_server,
    "cluster": _is_name,
    "node": _is_name,
    "pin_dir": _is_pin_dir,
    "interface": _is_interface,
    "listen_port": _is_within(1, 65535),
    "resync_seconds": _is_within(1, 3600),
    "local_traffic": _is_one_of(LOCAL_TRAFFIC),
    "xdp": _is_one_of(XDP),
    "flows": _is_one_of(FLOWS),
    "flow_sample": _is_within(1, 1_000_000),
    "flow_seconds": _is_within(1, 3600),
    "metrics": _is_place,
}
TYPES: dict[str, type] = {
    f.name: f.type for f in fields(AgentSettings) if f.name in CHECKS and isinstance(f.type, type)
}
"""Type of every key that file and environment may hold."""
WORDS: dict[type, str] = {str: "text", int: "whole number"}
