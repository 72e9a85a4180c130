"""tcx (Linux 6.6): programs on an interface by links, which are pinned and so outlive the agent. Ahead of all others' programs and filters;
what ours let pass they see as before. Constants: linux/bpf.h."""

import ctypes
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from federation.errors import DriverError, PlatformLack
from nodeagent.dataplane.ebpf.bpf import call, errno_of, open_pin

OBJ_PIN, OBJ_INFO, PROG_QUERY, LINK_CREATE, LINK_UPDATE = 6, 15, 16, 28, 29
BEFORE = 1 << 3
HOOKS = {"from_endpoint": 46, "to_endpoint": 47, "from_network": 46, "to_network": 47}
"""BPF_TCX_INGRESS and BPF_TCX_EGRESS, by the program that hangs there."""
INFO_WORDS = 16
IFINDEX, ATTACH_TYPE = 4, 5
"""Words of struct bpf_link_info."""


class _Create(ctypes.Structure):
    _fields_ = [
        ("prog_fd", ctypes.c_uint32), ("ifindex", ctypes.c_uint32), ("attach_type", ctypes.c_uint32), ("flags", ctypes.c_uint32),
        ("relative", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("expected_revision", ctypes.c_uint64),
    ]  # fmt: skip


class _Update(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("link_fd", "new_prog_fd", "flags", "old_prog_fd")]


class _Pin(ctypes.Structure):
    _fields_ = [("path", ctypes.c_uint64), ("fd", ctypes.c_uint32), ("flags", ctypes.c_uint32)]


class _Info(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64)]


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
    wanted = _Create(prog_fd=program, ifindex=index, attach_type=HOOKS[name], flags=BEFORE)
    try:
        link = call(LINK_CREATE, wanted, f"attach {name}")
    except DriverError as error:
        if errno_of(error) == errno.EINVAL:
            return False
        if errno_of(error) == errno.ENODEV:
            hint = "it is tried again at the next round"
            raise DriverError(f"attach {name}: the interface is gone", hint=hint) from error
        raise
    pin = pins / f"{index}-{name}"
    try:
        pin.unlink(missing_ok=True)
        text = ctypes.create_string_buffer(str(pin).encode())
        call(OBJ_PIN, _Pin(path=ctypes.addressof(text), fd=link), f"pin the link of {name}")
    finally:
        os.close(link)
    return True


def _replace(pin: Path, program: int, index: int) -> bool:
    """Whether a link of ours stands there, and holds the program now."""
    if not pin.exists() or not _holds(pin, index, pin.name.partition("-")[2]):
        return False
    link = open_pin(pin)
    try:
        call(LINK_UPDATE, _Update(link_fd=link, new_prog_fd=program), f"replace {pin.name}")
    finally:
        os.close(link)
    return True


def _holds(pin: Path, index: int, name: str) -> bool:
    """Whether a pinned link still is on its interface; one that we may not look at is believed to be."""
    try:
        link = open_pin(pin)
    except DriverError:
        return False
    except PlatformLack:
        return True
    words = (ctypes.c_uint32 * INFO_WORDS)()
    try:
        asked = _Info(fd=link, length=ctypes.sizeof(words), info=ctypes.addressof(words))
        call(OBJ_INFO, asked, f"look at {pin.name}")
    finally:
        os.close(link)
    return words[IFINDEX] == index and words[ATTACH_TYPE] == HOOKS.get(name)
