"""XDP: a program at an interface's driver, before the kernel makes a packet of what came; by a link (Linux 5.9), which is pinned and so outlives
the agent. Constants: linux/bpf.h, linux/if_link.h."""

import errno
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from federation.errors import DriverError
from nodeagent.dataplane.ebpf.bpf import errno_of, open_pin
from nodeagent.dataplane.linux import pinned

PROGRAM = "deny_early"
XDP = 37
"""BPF_XDP."""
LINK_KIND = 6
"""BPF_LINK_TYPE_XDP."""
HELD = (errno.EBUSY, errno.EEXIST)
"""Somebody else's program hangs there, of this mode or the other."""


class Mode(StrEnum):
    """Where a program runs."""

    NATIVE = "native"
    """In the driver."""
    GENERIC = "generic"
    """In the kernel, right behind the driver, where the driver cannot: a packet was made already."""


FLAGS = {Mode.NATIVE: 1 << 2, Mode.GENERIC: 1 << 1}
"""XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE."""
ENDS = {Mode.NATIVE: PROGRAM, Mode.GENERIC: f"{PROGRAM}-{Mode.GENERIC}"}
"""How names of pins end, behind the interface's index: a link does not tell its mode."""


def attach(index: int, program: Path, pins: Path, modes: tuple[Mode, ...]) -> Mode:
    """Hang a pinned program on an interface in the first of those modes that it has, or put it into our link that is there, in one step. Raises
    DriverError (of `HELD` by errno_of, when somebody else's hangs there) or PlatformLack."""
    pins.mkdir(parents=True, exist_ok=True)
    standing = look(pins).get(index)
    descriptor = open_pin(program)
    try:
        if standing in modes:
            pinned.replace(_pin(index, standing, pins), descriptor)
            return standing
        detach(index, pins)
        return _attach(index, descriptor, pins, modes)
    finally:
        os.close(descriptor)


def look(pins: Path) -> dict[int, Mode]:
    """The mode of our programs, by interface's index. What an interface has taken with it is removed."""
    found = {}
    for index, mode, pin in _ours(pins):
        words = pinned.look(pin)
        if words is None or (words and (words[pinned.KIND], words[pinned.IFINDEX]) == (LINK_KIND, index)):
            found[index] = mode
        else:
            pin.unlink(missing_ok=True)
    return found


def detach(index: int, pins: Path) -> None:
    """Take our program off an interface."""
    for mode in Mode:
        pinned.detach(_pin(index, mode, pins))


def _attach(index: int, program: int, pins: Path, modes: tuple[Mode, ...]) -> Mode:
    for mode in modes:
        wanted = pinned.Create(prog_fd=program, ifindex=index, attach_type=XDP, flags=FLAGS[mode])
        try:
            pinned.create(wanted, _pin(index, mode, pins), PROGRAM)
        except DriverError as error:
            if mode is modes[-1] or errno_of(error) in HELD:
                raise
        else:
            return mode
    raise DriverError(f"attach {PROGRAM}: no mode is wanted")


def _pin(index: int, mode: Mode, pins: Path) -> Path:
    return pins / f"{index}-{ENDS[mode]}"


def _ours(pins: Path) -> Iterator[tuple[int, Mode, Path]]:
    modes = {end: mode for mode, end in ENDS.items()}
    for pin in sorted(pins.iterdir()) if pins.is_dir() else ():
        number, _, name = pin.name.partition("-")
        if name in modes:
            yield int(number), modes[name], pin
