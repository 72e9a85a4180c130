"""Loads and pins the programs, in a child process that lives for half a second, or for some when they are to be compiled first.

`python -m nodeagent.dataplane.ebpf.loader PIN_FOLDER WORK_FOLDER [OTHER_FOLDER]`.
"""

import ctypes
import json
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

from federation.errors import PlatformLack
from nodeagent.dataplane.ebpf import bpf, layout
from nodeagent.dataplane.ebpf.build import compiler, objects
from nodeagent.dataplane.ebpf.build.objects import Objects
from nodeagent.dataplane.ebpf.upkeep import features, generations

FOLDER = Path(__file__).parent / "programs"
SOURCES = ("layout.h", "parse.h", "connections.h", "verdict.h", "endpoint.c", "host.c", "early.c")
PROGRAMS = ("from_endpoint", "to_endpoint")
HOST_PROGRAMS = ("from_network", "to_network")
"""Those of the node's own interfaces."""
STEPS = ("walk_rules", "deliver", "walk_host", "ask_host", "judge_rules")
"""Programs that those go on in, in the order of the map `steps`."""
EARLY = "deny_early"
"""That of their drivers (XDP)."""
EARLY_STEPS = ("walk_early",)
"""Programs that it goes on in, in the order of the map `early_steps`."""
MAPS = (
    "endpoints", "hosts", "more_addresses", "locals", "addresses", "prefixes", "identity_rows", "prefix_rows", "rules", "summaries", "stamps",
    "connections", "openings", "verdicts", "fragments", "walks", "steps", "early_steps", "counters", "rule_counts", "settings", "events",
)  # fmt: skip
PINS = (*MAPS, *STEPS, *EARLY_STEPS, *PROGRAMS, *HOST_PROGRAMS, EARLY)
"""Everything that a generation's folder holds, beside its link."""
SCHED_CLS, XDP = 3, 6
"""BPF_PROG_TYPE_*."""
KINDS = {
    **dict.fromkeys((*STEPS, *PROGRAMS, *HOST_PROGRAMS), SCHED_CLS),
    **dict.fromkeys((*EARLY_STEPS, EARLY), XDP),
}

EXIT_LACK = 3
"""The machine lacks something: standard output says what, as JSON."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG (linux/prctl.h)."""


def source() -> str:
    """The programs' text: bcc reads maps in its main file only, so all parts are one."""
    return "".join((FOLDER / name).read_text() for name in SOURCES)


def main(pin_folder: Path, work_folder: Path, carried: Path | None = None) -> None:
    """Pin everything below `pin_folder`, in one step: it is there whole, or not at all. `carried`: a generation whose connections go on."""
    wanted = wanted_objects(work_folder)
    with suppress(
        ValueError, OSError
    ):  # kernels before 5.11 count maps against it; without the right to raise it they say so themselves
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    descriptors = {name: _map(name, wanted, carried) for name in MAPS}
    programs = {
        name: bpf.load_program(name, program.kind, program.with_maps(descriptors))
        for name, program in wanted.programs.items()
    }
    staging = pin_folder.with_name(pin_folder.name + generations.STAGING)
    staging.mkdir(parents=True)
    for name, descriptor in (descriptors | programs).items():
        bpf.pin(descriptor, staging / name)
    for table, names in (("steps", STEPS), ("early_steps", EARLY_STEPS)):
        calls = bpf.PinnedMap(staging / table, 4, 4)
        calls.update(
            {struct.pack("=I", i): struct.pack("=I", programs[name]) for i, name in enumerate(names)}
        )
    (staging / generations.SHAPE).symlink_to(generations.shape(source()))
    staging.rename(pin_folder)


def wanted_objects(work_folder: Path) -> Objects:
    """What this release loads on this kernel: as it was kept, or compiled and kept. Raises PlatformLack, or what bcc raises."""
    flags = [f"-D{name}={size}" for name, size in layout.SIZES.items()]
    flags += ["-DCOARSE"] if features.has_helper(features.COARSE_CLOCK) else []
    folder, key = objects.folder_of(work_folder), objects.key_of(source(), flags)
    if (known := objects.find(folder, key)) is not None:
        return known
    made = compiler.compiled(source(), flags, work_folder / "headers", MAPS, KINDS)
    objects.keep(folder, key, made)
    return made


def _map(name: str, wanted: Objects, carried: Path | None) -> int:
    if carried is not None and name in generations.CARRIED:
        return bpf.open_pin(carried / name)
    shape = wanted.maps[name]
    return bpf.make_map(name, shape.kind, shape.key_size, shape.value_size, shape.entries, shape.flags)


def die_with_parent() -> None:
    """Nobody is left to wait for the programs when the agent is killed; its successor compiles them itself."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    die_with_parent()
    try:
        main(*map(Path, sys.argv[1:]))
    except PlatformLack as lack:
        sys.stdout.write(json.dumps({"message": lack.message, "hint": lack.hint}))
        sys.exit(EXIT_LACK)
