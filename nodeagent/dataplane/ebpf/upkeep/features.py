"""What of bpf(2) this kernel has that programs and agent do without where it is missing: each is tried. `python -m` prints it as JSON."""

import ctypes
import json
import os
import struct
import sys
from collections.abc import Callable

from federation.errors import CausewayError
from nodeagent.dataplane.ebpf import bpf

MAP_CREATE, PROG_LOAD = 0, 5
HASH, RING_BUFFER, SCHED_CLS = 1, 27, 3
COARSE_CLOCK = 160
"""bpf_ktime_get_coarse_ns, Linux 5.11."""
INSTRUCTION = struct.Struct("=BBhi")
CALL, MOVE_0, EXIT = 0x85, 0xB7, 0x95


class _Program(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32), ("count", ctypes.c_uint32), ("instructions", ctypes.c_uint64), ("license", ctypes.c_uint64),
        ("pad", ctypes.c_uint8 * 96),
    ]  # fmt: skip


class _Map(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_uint32), ("key_size", ctypes.c_uint32), ("value_size", ctypes.c_uint32), ("max_entries", ctypes.c_uint32), ("pad", ctypes.c_uint8 * 56)]  # fmt: skip


def has_helper(number: int) -> bool:
    """Whether a tc program may call a helper that takes no argument: one of three instructions is loaded. Raises PlatformLack without the
    rights to load anything."""
    body = b"".join(
        INSTRUCTION.pack(*one) for one in ((CALL, 0, 0, number), (MOVE_0, 0, 0, 0), (EXIT, 0, 0, 0))
    )
    code, text = ctypes.create_string_buffer(body, len(body)), ctypes.create_string_buffer(b"GPL")
    program = _Program(
        kind=SCHED_CLS, count=3, instructions=ctypes.addressof(code), license=ctypes.addressof(text)
    )
    return _is_taken(lambda: bpf.call(PROG_LOAD, program, "load a program"))


def has_ring_buffer() -> bool:
    """Linux 5.8."""
    size = os.sysconf("SC_PAGE_SIZE")
    return _is_taken(lambda: bpf.call(MAP_CREATE, _Map(kind=RING_BUFFER, max_entries=size), "make a map"))


def has_batches() -> bool:
    """Linux 5.6: many entries of a map in one system call."""
    held = bpf.call(MAP_CREATE, _Map(kind=HASH, key_size=4, value_size=4, max_entries=1), "make a map")
    try:
        key, value = (ctypes.create_string_buffer(4) for _ in range(2))
        batch = bpf.Batch(keys=ctypes.addressof(key), values=ctypes.addressof(value), count=1, map_fd=held)
        bpf.call(bpf.UPDATE_BATCH, batch, "write a map")
    except CausewayError as error:
        if bpf.errno_of(error) in bpf.NO_BATCH:
            return False
        raise
    finally:
        os.close(held)
    return True


def _is_taken(ask: Callable[[], int]) -> bool:
    try:
        os.close(ask())
    except CausewayError as error:
        if bpf.errno_of(error) == 22:  # EINVAL: it does not know it
            return False
        raise
    return True


if __name__ == "__main__":
    try:
        found = {
            "coarse clock": has_helper(COARSE_CLOCK),
            "ring buffer": has_ring_buffer(),
            "batches": has_batches(),
        }
        sys.stdout.write(json.dumps(found))
    except CausewayError as error:
        sys.exit(error.message)
