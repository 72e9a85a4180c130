"""Links of bpf(2) that hold a program where it hangs: pinned, so that they outlive the agent. Constants: linux/bpf.h."""

import ctypes
import os
from pathlib import Path

from federation.errors import DriverError, PlatformLack
from nodeagent.dataplane.ebpf.bpf import INFO, Info, call, open_pin, pin

LINK_CREATE, LINK_UPDATE, LINK_DETACH = 28, 29, 34
INFO_WORDS = 16
KIND, PROGRAM, IFINDEX, ATTACH_TYPE = 0, 2, 4, 5
"""Words of struct bpf_link_info."""


class Create(ctypes.Structure):
    """What the kernel is asked to hang where."""

    _fields_ = [
        ("prog_fd", ctypes.c_uint32), ("ifindex", ctypes.c_uint32), ("attach_type", ctypes.c_uint32), ("flags", ctypes.c_uint32),
        ("relative", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("expected_revision", ctypes.c_uint64),
    ]  # fmt: skip


class _Update(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("link_fd", "new_prog_fd", "flags", "old_prog_fd")]


def create(wanted: Create, at: Path, name: str) -> None:
    """Make a link, and pin it in place of what is there. Raises DriverError, from the OSError with the kernel's number, or PlatformLack."""
    link = call(LINK_CREATE, wanted, f"attach {name}")
    try:
        at.unlink(missing_ok=True)
        pin(link, at)
    finally:
        os.close(link)


def replace(at: Path, program: int) -> None:
    """Let a pinned link hold another program, in one step. Raises DriverError or PlatformLack."""
    link = open_pin(at)
    try:
        call(LINK_UPDATE, _Update(link_fd=link, new_prog_fd=program), f"replace {at.name}")
    finally:
        os.close(link)


def detach(at: Path) -> None:
    """Take the program of a pinned link off, at once: the pin's removal alone takes the kernel a while. No link, or one that is off, is no
    error. Raises DriverError or PlatformLack."""
    if not at.exists():
        return
    link = open_pin(at)
    try:
        call(LINK_DETACH, _Update(link_fd=link), f"detach {at.name}")
    finally:
        os.close(link)
        at.unlink(missing_ok=True)


def look(at: Path) -> tuple[int, ...] | None:
    """What the kernel says of a pinned link (words of struct bpf_link_info): () when it is none any more, None when we may not look."""
    try:
        link = open_pin(at)
    except DriverError:
        return ()
    except PlatformLack:
        return None
    words = (ctypes.c_uint32 * INFO_WORDS)()
    try:
        asked = Info(fd=link, length=ctypes.sizeof(words), info=ctypes.addressof(words))
        call(INFO, asked, f"look at {at.name}")
    finally:
        os.close(link)
    return tuple(words)
