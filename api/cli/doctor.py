"""`causeway doctor`: what this machine has and lacks, what each lack costs, what to do. Every check really tries."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile
from federation.errors import CausewayError

CAPABILITIES = {"NET_ADMIN": 12, "SYS_ADMIN": 21, "BPF": 39}
"""Numbers of linux/capability.h."""
MAX_SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found. `level`: ok, warn (something is lost) or fail (the node cannot do its work)."""

    check: str
    level: str
    found: str
    lost: str = ""
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, as the checks see it: a test gives another one."""

    root: Path = Path("/")
    which: Callable[[str], str | None] = shutil.which
    run: Callable[[list[str]], "subprocess.CompletedProcess[str]"] = lambda words: subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=30
    )
    python: str = sys.executable
    state_dir: Path = Path("/var/lib/causeway/agent")


def doctor(
    output: Annotated[str, typer.Option("-o", "--output", help="table or json.")] = "table",
    state_dir: Annotated[Path, typer.Option(help="The agent's state directory.")] = Path("/var/lib/causeway/agent"),
    server: Server = "",
    token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Check what a node needs of this machine. Exit code 1 when something fails."""
    findings = [*machine(Host(state_dir=state_dir)), *control_plane(server, token_file)]
    if output == "json":
        OUT.print_json(data=[asdict(finding) for finding in findings])
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("", "CHECK", "FOUND", "WITHOUT IT", "WHAT TO DO"):
            table.add_column(title, overflow="fold")
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for f in findings:
            table.add_row(f"[{colours[f.level]}]{f.level}[/]", f.check, f.found, f.lost, f.todo)
        OUT.print(table)
    raise typer.Exit(1 if any(f.level == "fail" for f in findings) else 0)


def machine(host: Host) -> Iterator[Finding]:
    """Every check of this machine, in order."""
    for check in (
        rights, kernel, features, bpf_filesystem, traffic_control, bcc, headers, wireguard, tools, ports, state, control_groups,
    ):  # fmt: skip
        try:
            yield check(host)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            yield Finding(check=check.__name__, level="warn", found=f"could not be checked: {error}")


def rights(host: Host) -> Finding:
    """Root, or the capabilities that stand for it."""
    status = (host.root / "proc/self/status").read_text()
    held = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    missing = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if not missing:
        return Finding(check="rights", level="ok", found="NET_ADMIN, SYS_ADMIN, BPF")
    found = f"missing capabilities: {', '.join(missing)}"
    return Finding(
        check="rights", level="fail", found=found, lost="nothing can be programmed", todo="run as root"
    )


def kernel(host: Host) -> Finding:
    """5.10 or newer, with type information."""
    release = (host.root / "proc/sys/kernel/osrelease").read_text().strip()
    numbers = tuple(int(part) for part in release.split("-")[0].split("+")[0].split(".")[:2])
    if numbers < (5, 10):
        lost = "the programs do not load"
        return Finding(check="kernel", level="fail", found=release, lost=lost, todo="run Linux 5.10 or newer")
    has_types = (host.root / "sys/kernel/btf/vmlinux").exists()
    return Finding(check="kernel", level="ok", found=f"{release}, {'with' if has_types else 'without'} BTF")


LOST = {
    "ring buffer": "no policy: the programs do not load (Linux 5.8 has it)",
    "batches": "changes of policy cost a system call for each entry (Linux 5.6 has them)",
    "coarse clock": "some nanoseconds a packet (Linux 5.11 has it)",
}


def features(host: Host) -> Finding:
    """What of bpf(2) the programs and the agent use, each tried."""
    done = host.run([host.python, "-m", "nodeagent.dataplane.ebpf.upkeep.features"])
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        lost = "no policy: nothing can be loaded"
        return Finding(check="bpf(2)", level="fail", found=said, lost=lost, todo="run as root")
    has = json.loads(done.stdout)
    missing = [name for name in LOST if not has.get(name)]
    if not missing:
        return Finding(check="bpf(2)", level="ok", found=", ".join(LOST))
    level = "fail" if "ring buffer" in missing else "warn"
    lost = "; ".join(LOST[name] for name in missing)
    return Finding(
        check="bpf(2)", level=level, found=f"no {', no '.join(missing)}", lost=lost, todo="a newer kernel"
    )


def bpf_filesystem(host: Host) -> Finding:
    """Where pins live."""
    place = host.root / "sys/fs/bpf"
    listed = (host.root / "proc/self/mounts").read_text().splitlines()
    is_mounted = any(line.split()[1:3] == [f"/{place.relative_to(host.root)}", "bpf"] for line in listed)
    if is_mounted:
        return Finding(check="bpffs", level="ok", found=f"mounted on {place}")
    lost = "no policy: pins have no place, and a restart of the agent would drop every verdict"
    return Finding(
        check="bpffs", level="fail", found="not mounted", lost=lost, todo="mount -t bpf bpf /sys/fs/bpf"
    )


def traffic_control(host: Host) -> Finding:
    """clsact on an interface, tried in a network namespace of its own."""
    done = host.run(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "clsact"])
    if done.returncode == 0:
        return Finding(check="tc clsact", level="ok", found="attaches")
    lost = "no policy: programs cannot be attached to endpoints"
    todo = "a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, and rights to use it"
    return Finding(check="tc clsact", level="fail", found=done.stderr.strip()[-120:], lost=lost, todo=todo)


def bcc(host: Host) -> Finding:
    """The compiler of the programs, in this interpreter."""
    done = host.run([host.python, "-c", "import bcc; print(bcc.__version__)"])
    if done.returncode == 0:
        return Finding(check="bcc", level="ok", found=done.stdout.strip())
    said = (done.stderr.strip().splitlines() or [""])[-1]
    todo = (
        "apt-get install python3-bpfcc, and a virtual environment of /usr/bin/python3 --system-site-packages"
    )
    return Finding(
        check="bcc", level="fail", found=said, lost="no policy: programs are not compiled", todo=todo
    )


def headers(host: Host) -> Finding:
    """The private tree of headers builds."""
    from nodeagent.dataplane.ebpf.build import headers as tree

    with tempfile.TemporaryDirectory() as folder:
        try:
            tree.build(Path(folder))
        except CausewayError as error:
            lost = "no policy: programs are not compiled"
            return Finding(check="headers", level="fail", found=error.message, lost=lost, todo=error.hint)
    return Finding(check="headers", level="ok", found="the private header tree builds")


def wireguard(host: Host) -> Finding:
    """In the kernel, or in user space on a TUN device."""
    done = host.run(["unshare", "--net", "ip", "link", "add", "probe0", "type", "wireguard"])
    if done.returncode == 0:
        return Finding(check="wireguard", level="ok", found="in the kernel")
    has_tun = (host.root / "dev/net/tun").exists()
    if host.which("wireguard-go") and has_tun:
        lost = "about a tenth of the kernel's throughput"
        todo = "a kernel with WireGuard (5.6 or newer has it)"
        return Finding(
            check="wireguard", level="ok", found="wireguard-go on /dev/net/tun", lost=lost, todo=todo
        )
    missing = "wireguard-go" if has_tun else "/dev/net/tun"
    lost = "no links between clusters; policy is enforced all the same"
    return Finding(
        check="wireguard",
        level="warn",
        found=f"neither in the kernel nor {missing}",
        lost=lost,
        todo="apt-get install wireguard-go; modprobe tun",
    )


def tools(host: Host) -> Finding:
    """Programs that the lab, the tests and the agent start."""
    missing = [name for name in ("ip", "tc", "nsenter", "unshare") if not host.which(name)]
    if not missing:
        return Finding(check="tools", level="ok", found="ip, tc, nsenter, unshare")
    return Finding(
        check="tools",
        level="warn",
        found=f"missing: {', '.join(missing)}",
        lost="the lab",
        todo="apt-get install iproute2 util-linux",
    )


def ports(host: Host) -> Finding:
    """The control plane's and WireGuard's ports, free or held by us."""
    taken = []
    for port, kind in ((8440, socket.SOCK_STREAM), (51820, socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(f"{'TCP' if kind == socket.SOCK_STREAM else 'UDP'} {port}")
    if not taken:
        return Finding(check="ports", level="ok", found="TCP 8440 and UDP 51820 are free")
    lost = "nothing, if causeway itself runs here"
    return Finding(
        check="ports",
        level="warn",
        found=f"in use: {', '.join(taken)}",
        lost=lost,
        todo="ss -lntup says by whom; serve --listen chooses another",
    )


def state(host: Host) -> Finding:
    """A place to keep the cache and the key, private, with room."""
    place = host.state_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    room = shutil.disk_usage(place).free >> 20
    secrets = (host.state_dir / name for name in ("identity.pem", "credential"))
    credential = next((p for p in secrets if p.exists() and p.stat().st_mode & 0o077), None)
    if credential is not None:
        lost = "others on this machine can speak as this node"
        return Finding(
            check="state",
            level="fail",
            found=f"{credential} is readable by others",
            lost=lost,
            todo=f"chmod 600 {credential}",
        )
    if not os.access(place, os.W_OK):
        return Finding(
            check="state",
            level="fail",
            found=f"{place} is not writable",
            lost="nothing survives a restart",
            todo="run as root",
        )
    level = "ok" if room >= 100 else "warn"
    return Finding(
        check="state",
        level=level,
        found=f"{room} MiB free under {place}",
        lost="" if level == "ok" else "the cache, when the disk is full",
    )


def control_groups(host: Host) -> Finding:
    """Control groups of version 2 (wanted by later releases' socket programs)."""
    places = [
        p
        for p in ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        if (host.root / p / "cgroup.controllers").exists()
    ]
    if places:
        return Finding(check="cgroup v2", level="ok", found=f"/{places[0]}")
    return Finding(check="cgroup v2", level="warn", found="not mounted", lost="nothing in this release")


def control_plane(server: str, token_file: str) -> Iterator[Finding]:
    """Reachable, in step with our clock, and our token valid."""
    try:
        client = Client(server, token_file, timeout=3)
    except CausewayError as error:
        yield Finding(check="settings", level="fail", found=error.message, todo=error.hint)
        return
    try:
        answer = client.http.get("/healthz")
    except httpx.TransportError as error:
        todo = "set --server or CAUSEWAY_SERVER; start it: causeway serve"
        yield Finding(
            check="control plane",
            level="warn",
            found=f"{client.server}: {error}",
            lost="no changes reach this node; what stands stays",
            todo=todo,
        )
        return
    yield Finding(
        check="control plane",
        level="ok" if answer.is_success else "fail",
        found=f"{client.server} answers {answer.status_code}",
    )
    if stamp := answer.headers.get("date"):
        skew = abs(parsedate_to_datetime(stamp).timestamp() - time.time())
        level = "ok" if skew <= MAX_SKEW_SECONDS else "warn"
        yield Finding(
            check="clock",
            level=level,
            found=f"{skew:.0f} s from the control plane's",
            lost="" if level == "ok" else "tokens seem expired",
            todo="" if level == "ok" else "timedatectl set-ntp true",
        )
    try:
        client.ask("GET", "/api/v1/tiers", limit=1)
    except CausewayError as error:
        yield Finding(
            check="API token",
            level="warn",
            found=error.message,
            lost="get, apply and the like",
            todo=error.hint or "set --token-file or CAUSEWAY_TOKEN_FILE",
        )
    else:
        yield Finding(check="API token", level="ok", found="accepted")
