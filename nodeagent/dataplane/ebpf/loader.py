"""The one door to bcc: compiles, loads and pins the programs, in a child process that lives for a second.

bcc maps more than 100 MB; the agent works on the pins. `python -m nodeagent.dataplane.ebpf.loader PIN_FOLDER WORK_FOLDER [OTHER_FOLDER]`.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from federation.errors import PlatformLack
from nodeagent.dataplane.ebpf import headers, layout
from nodeagent.dataplane.ebpf.upkeep import features, generations

FOLDER = Path(__file__).parent / "programs"
SOURCES = ("layout.h", "parse.h", "connections.h", "verdict.h", "endpoint.c", "host.c", "early.c")
PROGRAMS = ("from_endpoint", "to_endpoint")
HOST_PROGRAMS = ("from_network", "to_network")
"""Those of the node's own interfaces."""
STEPS = ("walk_rules", "deliver", "walk_host", "ask_host")
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

EXIT_LACK = 3
"""The machine lacks something: standard output says what, as JSON."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG (linux/prctl.h)."""


def source() -> str:
    """The programs' text: bcc reads maps in its main file only, so all parts are one."""
    return "".join((FOLDER / name).read_text() for name in SOURCES)


def main(pin_folder: Path, work_folder: Path, carried: Path | None = None) -> None:
    """Pin everything below `pin_folder`, in one step: it is there whole, or not at all. `carried`: a generation whose connections go on."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.build(work_folder / "headers"))
    try:
        from bcc import BPF, lib  # after the environment is set: bcc reads it when it is imported
    except ImportError as error:
        hint = "apt-get install python3-bpfcc; routes and tunnels still work"
        raise PlatformLack(f"bcc cannot be imported: {error}", hint=hint) from error

    flags = [f"-D{name}={size}" for name, size in layout.SIZES.items()]
    text = generations.carrying(source(), carried) if carried else source()
    flags += ["-DCOARSE"] if features.has_helper(features.COARSE_CLOCK) else []
    compiled = BPF(text=text, cflags=[*flags, "-Wno-macro-redefined"])
    staging = pin_folder.with_name(pin_folder.name + generations.STAGING)
    staging.mkdir(parents=True)
    pins = [(name, compiled[name].map_fd) for name in MAPS]
    kinds = (("steps", STEPS, BPF.SCHED_CLS), ("early_steps", EARLY_STEPS, BPF.XDP))
    for table, names, kind in kinds:
        for place, name in enumerate(names):
            step = compiled.load_func(name, kind)
            compiled[table][ctypes.c_int(place)] = ctypes.c_int(step.fd)
            pins.append((name, step.fd))
    pins += [(name, compiled.load_func(name, BPF.SCHED_CLS).fd) for name in (*PROGRAMS, *HOST_PROGRAMS)]
    pins.append((EARLY, compiled.load_func(EARLY, BPF.XDP).fd))
    for name, fd in pins:
        target = staging / name
        if lib.bpf_obj_pin(fd, ctypes.c_char_p(str(target).encode())) != 0:
            raise OSError(ctypes.get_errno(), f"pin {target}")
    (staging / generations.SHAPE).symlink_to(generations.shape(source()))
    staging.rename(pin_folder)


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
