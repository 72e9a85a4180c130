"""Asks a pinned program itself about one packet, without a wire (BPF_PROG_TEST_RUN): for proofs and measurements."""

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from nodeagent.dataplane.ebpf.bpf import call, open_pin

TEST_RUN = 10
LIVE_FRAMES = 2
LOOPBACK = 1
"""The interface that a packet of a test run comes from: endpoints that are asked about hang on it."""
ACT_OK, ACT_SHOT, ACT_NEXT = 0, 2, 2**32 - 1
"""What programs return (linux/pkt_cls.h). Ours: the last for what they let pass, so that whoever hangs after them is asked too."""

CONTEXT = struct.Struct("=36x2I148x")
"""Of struct __sk_buff (linux/bpf.h): the interface that the packet came in by, and the one that it is at."""


class _TestRun(ctypes.Structure):
    _fields_ = [
        ("prog_fd", ctypes.c_uint32), ("retval", ctypes.c_uint32), ("data_size_in", ctypes.c_uint32), ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64), ("data_out", ctypes.c_uint64), ("repeat", ctypes.c_uint32), ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32), ("ctx_size_out", ctypes.c_uint32), ("ctx_in", ctypes.c_uint64), ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32), ("cpu", ctypes.c_uint32), ("batch_size", ctypes.c_uint32), ("pad", ctypes.c_uint32),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program returned, and how many nanoseconds one run took on average."""

    action: int
    nanoseconds: int


def ask(
    program: Path, frame: bytes, repeat: int = 1, *, interface: int = LOOPBACK, came_by: int = 0
) -> Answer:
    """Run a pinned tc program over an Ethernet frame, in this thread's network namespace, as if it were at an interface (by index) and
    had come in by another. Raises DriverError."""
    raw = ctypes.create_string_buffer(frame, len(frame))
    context = ctypes.create_string_buffer(CONTEXT.pack(came_by, interface), CONTEXT.size)
    descriptor = open_pin(program)
    try:
        attributes = _TestRun(
            prog_fd=descriptor,
            data_size_in=len(frame),
            data_in=ctypes.addressof(raw),
            repeat=repeat,
            ctx_size_in=CONTEXT.size,
            ctx_in=ctypes.addressof(context),
        )
        call(TEST_RUN, attributes, f"run {program.name}")
    finally:
        os.close(descriptor)
    return Answer(attributes.retval, attributes.duration)


def ask_early(program: Path, frame: bytes, repeat: int = 1, *, is_live: bool = False) -> Answer:
    """The same of a pinned XDP program, at the loopback interface. `is_live`: what it redirects is really sent, frame after frame (Linux 5.18).
    Raises DriverError."""
    raw = ctypes.create_string_buffer(frame, len(frame))
    descriptor = open_pin(program)
    try:
        attributes = _TestRun(
            prog_fd=descriptor,
            data_size_in=len(frame),
            data_in=ctypes.addressof(raw),
            repeat=repeat,
            flags=LIVE_FRAMES if is_live else 0,
        )
        call(TEST_RUN, attributes, f"run {program.name}")
    finally:
        os.close(descriptor)
    return Answer(attributes.retval, attributes.duration)
