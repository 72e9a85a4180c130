"""tc filters: our two programs on an interface. Ours are known by priority and handle."""

import errno
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import CausewayError, DriverError, PlatformLack
from nodeagent.dataplane.ebpf.bpf import open_pin

PRIORITY = 0xCA5
HANDLE = 0xCA5E
INGRESS_PARENT, EGRESS_PARENT = 0xFFFFFFF2, 0xFFFFFFF3
CLSACT_HANDLE = 0xFFFF0000
ETH_P_ALL = 0x0003


def attach(index: int, ingress: Path, egress: Path) -> None:
    """Hang both programs on an interface, replacing older ones of ours in one step each. Raises DriverError or PlatformLack."""
    with IPRoute() as netlink:
        try:
            netlink.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise refusal(error, "add clsact") from error
            _must_be_clsact(netlink, index)
        for parent, path in ((INGRESS_PARENT, ingress), (EGRESS_PARENT, egress)):
            descriptor = open_pin(path)
            try:
                netlink.tc(
                    "replace-filter", "bpf", index, handle=HANDLE, fd=descriptor, name=path.name, parent=parent,
                    protocol=ETH_P_ALL, prio=PRIORITY, direct_action=True, classid=1,
                )  # fmt: skip
            except NetlinkError as error:
                raise refusal(error, f"attach {path.name}") from error
            finally:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Hung:
    """What hangs on interfaces of a namespace."""

    ours: Mapping[int, set[str]] = field(default_factory=dict)
    """Names of programs of ours, by interface's index."""
    shared: Set[int] = frozenset()
    """Interfaces that carry filters of somebody else."""


def look() -> Hung:
    """What hangs in this namespace."""
    ours: dict[int, set[str]] = {}
    shared: set[int] = set()
    with IPRoute() as netlink:
        for index, parent in _places(netlink):
            try:
                messages = list(netlink.get_filters(index=index, parent=parent))
            except NetlinkError:
                continue
            for message in messages:
                options = message.get_attr("TCA_OPTIONS")
                if options is None:  # the head of a priority
                    continue
                if message["info"] >> 16 == PRIORITY and message["handle"] == HANDLE:
                    ours.setdefault(index, set()).add(str(options.get_attr("TCA_BPF_NAME")))
                else:
                    shared.add(index)
    return Hung(ours, shared)


def _places(netlink: Any) -> list[tuple[int, int]]:
    """Interfaces that can carry filters of what comes or goes, and where: one question for all, not two for each."""
    kinds = {"clsact": (INGRESS_PARENT, EGRESS_PARENT), "ingress": (INGRESS_PARENT,)}
    return [
        (q["index"], parent) for q in netlink.get_qdiscs() for parent in kinds.get(q.get_attr("TCA_KIND"), ())
    ]


def detach(index: int) -> None:
    """Take our filters off an interface; nothing else. An interface that is gone is no error."""
    with IPRoute() as netlink:
        for parent in (INGRESS_PARENT, EGRESS_PARENT):
            try:
                netlink.tc(
                    "del-filter",
                    "bpf",
                    index,
                    handle=HANDLE,
                    parent=parent,
                    protocol=ETH_P_ALL,
                    prio=PRIORITY,
                )
            except NetlinkError as error:
                if error.code not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                    raise refusal(error, "detach") from error


def _must_be_clsact(netlink: Any, index: int) -> None:
    """An older `ingress` qdisc takes filters of both directions, and runs them all on what comes in."""
    kinds = {q.get_attr("TCA_KIND") for q in netlink.get_qdiscs(index=index) if q["handle"] == CLSACT_HANDLE}
    if kinds != {"clsact"}:
        held = ", ".join(sorted(kinds)) or "another"
        hint = "remove it: tc qdisc del dev INTERFACE ingress; the programs are hung at the next round"
        raise DriverError(f"the interface's place for clsact is held by a qdisc {held}", hint=hint)


def refusal(error: NetlinkError, what: str) -> CausewayError:
    """What the kernel's number means to a user."""
    match error.code:
        case errno.EPERM:
            return PlatformLack(f"{what}: no rights", hint="run as root, or with CAP_NET_ADMIN and CAP_BPF")
        case errno.EOPNOTSUPP | errno.ENOENT:
            hint = "enable CONFIG_NET_CLS_ACT and CONFIG_NET_SCH_INGRESS; routes and tunnels still work"
            return PlatformLack("this kernel has no tc clsact", hint=hint)
        case errno.ENODEV:
            return DriverError(f"{what}: the interface is gone", hint="it is tried again at the next round")
        case _:
            return DriverError(f"{what}: {error}")
