"""tcx (Linux 6.6): programs on an interface by links, which are pinned and so outlive the agent. Ahead of all others' programs and filters;
what ours let pass they see as before. Constants: linux/bpf.h."""

import ctypes
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from federation.errors import DriverError, PlatformLack
from nodeagent.dataplane.ebpf.bpf import call, errno_of, open_pin
from nodeagent.dataplane.linux import pinned

PROG_QUERY = 16
BEFORE = 1 << 3
HOOKS = {"from_endpoint": 46, "to_endpoint": 47, "from_network": 46, "to_network": 47}
"""BPF_TCX_INGRESS and BPF_TCX_EGRESS, by the program that hangs there."""


class _Query(ctypes.Structure):
    _fields_ = [
        ("ifindex", ctypes.c_uint32), ("attach_type", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64), ("count", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("prog_flags", ctypes.c_uint64),
        ("link_ids", ctypes.c_uint64), ("link_flags", ctypes.c_uint64), ("revision", ctypes.c_uint64),
    ]  # fmt: skip


def attach(index: int, programs: Mapping[str, Path], pins: Path) -> bool:
    """Hang pinned programs on an interface, by the names of HOOKS, replacing those that our links in `pins` hold in one step each; False
    where the kernel has no tcx. Raises DriverError or PlatformLack."""
    pins.mkdir(parents=True, exist_ok=True)
    for name, path in programs.items():
        program = open_pin(path)
        try:
            if not _replace(pins / f"{index}-{name}", program, index) and not _create(
                index, name, program, pins
            ):
                return False
        finally:
            os.close(program)
    return True


def look(pins: Path) -> dict[int, set[str]]:
    """Names of the programs that links in `pins` hold on interfaces, by index. What an interface has taken with it is removed."""
    found: dict[int, set[str]] = {}
    for pin in sorted(pins.iterdir()) if pins.is_dir() else ():
        number, _, name = pin.name.partition("-")
        if name not in HOOKS:  # of another kind
            continue
        if _holds(pin, int(number), name):
            found.setdefault(int(number), set()).add(name)
        else:
            pin.unlink(missing_ok=True)
    return found


def detach(index: int, pins: Path) -> None:
    """Take our programs off an interface."""
    release(index, HOOKS, pins)


def release(index: int, names: Iterable[str], pins: Path) -> None:
    """Take some of our programs off an interface."""
    for name in names:
        (pins / f"{index}-{name}").unlink(missing_ok=True)


def count(index: int) -> int:
    """How many programs hang on an interface, whoever's; 0 where the kernel has no tcx, or no such interface, or does not tell."""
    total = 0
    for hook in sorted(set(HOOKS.values())):
        asked = _Query(ifindex=index, attach_type=hook)
        try:
            call(PROG_QUERY, asked, "look at tcx")
        except DriverError as error:
            if errno_of(error) not in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                raise
        except PlatformLack:
            return 0
        total += asked.count
    return total


def _create(index: int, name: str, program: int, pins: Path) -> bool:
    wanted = pinned.Create(prog_fd=program, ifindex=index, attach_type=HOOKS[name], flags=BEFORE)
    try:
        pinned.create(wanted, pins / f"{index}-{name}", name)
    except DriverError as error:
        if errno_of(error) == errno.EINVAL:
            return False
        if errno_of(error) == errno.ENODEV:
            hint = "it is tried again at the next round"
            raise DriverError(f"attach {name}: the interface is gone", hint=hint) from error
        raise
    return True


def _replace(pin: Path, program: int, index: int) -> bool:
    """Whether a link of ours stands there, and holds the program now."""
    if not pin.exists() or not _holds(pin, index, pin.name.partition("-")[2]):
        return False
    pinned.replace(pin, program)
    return True


def _holds(pin: Path, index: int, name: str) -> bool:
    """Whether a pinned link still is on its interface; one that we may not look at is believed to be."""
    words = pinned.look(pin)
    if not words:
        return words is None
    return words[pinned.IFINDEX] == index and words[pinned.ATTACH_TYPE] == HOOKS[name]
