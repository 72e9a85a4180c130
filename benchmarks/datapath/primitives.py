"""The primitive programs of primitives.c, compiled in a child process and pinned, and how long a pinned program takes.

bcc is imported in the child alone: `python -m benchmarks.datapath.primitives PIN_FOLDER WORK_FOLDER`.
"""

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.lab import build
from nodeagent.dataplane.ebpf import probe
from nodeagent.dataplane.ebpf.build import headers

SOURCE = Path(__file__).parent / "primitives.c"
PROGRAMS = (
    "empty", "headers", "endpoint", "list", "address", "identity_row", "prefix", "connection", "no_connection", "fill", "fill_prefix",
)  # fmt: skip
MAPS = ("addresses", "rows", "prefixes", "pairs")
"""Pinned too, so that their memory can be read."""
COMPILE_SECONDS = 60
RUNS = 100_000


def main(pin_folder: Path, work_folder: Path) -> None:
    """Compile, load, pin."""
    pinned(SOURCE, MAPS, PROGRAMS, pin_folder, work_folder)


def pinned(
    source: Path, maps: Sequence[str], programs: Sequence[str], pin_folder: Path, work_folder: Path
) -> None:
    """The same of any such file."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.build(work_folder / "headers"))
    from bcc import BPF, lib  # type: ignore[import-untyped,unused-ignore]  # after the environment is set

    compiled = BPF(text=source.read_text(), cflags=["-Wno-macro-redefined"])
    pin_folder.mkdir(parents=True)
    pins = [(name, compiled[name].map_fd) for name in maps]
    pins += [(name, compiled.load_func(name, BPF.SCHED_CLS).fd) for name in programs]
    for name, descriptor in pins:
        if lib.bpf_obj_pin(descriptor, ctypes.c_char_p(str(pin_folder / name).encode())) != 0:
            raise OSError(ctypes.get_errno(), f"pin {name}")


@contextmanager
def loaded(
    pin_folder: Path, work_folder: Path, module: str = "benchmarks.datapath.primitives"
) -> Iterator[Path]:
    """The folder of pins; gone at the end."""
    command = build.python(module, str(pin_folder), str(work_folder))
    try:
        subprocess.run(command, check=True, timeout=COMPILE_SECONDS, stderr=subprocess.DEVNULL)
        yield pin_folder
    finally:
        shutil.rmtree(pin_folder, ignore_errors=True)


def fill(program: Path, frames: Sequence[bytes]) -> None:
    """Put what these packets name into the maps, by one of the two programs that do."""
    for frame in frames:
        if probe.ask(program, frame).action != probe.ACT_OK:
            raise RuntimeError("the packet could not be read")


def warm(program: Path, frame: bytes, is_allowed: bool | None = None) -> float:
    """Nanoseconds of one run of many over the same packet, everything in the processor's caches."""
    answer = probe.ask(program, frame, RUNS)
    _must_be(program, {answer.action}, is_allowed)
    return answer.nanoseconds


def spread(program: Path, frames: Sequence[bytes], is_allowed: bool | None = None) -> float:
    """Nanoseconds of a run over another packet each time, a system call between them: the median."""
    answers = [probe.ask(program, frame) for frame in frames]
    _must_be(program, {answer.action for answer in answers}, is_allowed)
    return statistics.median(answer.nanoseconds for answer in answers)


def _must_be(program: Path, found: set[int], is_allowed: bool | None) -> None:
    if is_allowed is None:
        return
    if (probe.ACT_SHOT in found) is is_allowed or (len(found) > 1 and not is_allowed):
        raise RuntimeError(f"{program.name} returned {found}, and is to {'allow' if is_allowed else 'deny'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
