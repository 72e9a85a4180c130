"""The one door to bcc: compiles, loads and pins the programs, in a child process that lives for a second.

bcc maps more than 100 MB; the agent works on the pins. `python -m nodeagent.dataplane.ebpf.loader PIN_FOLDER WORK_FOLDER`.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

from federation.errors import PlatformLack
from nodeagent.dataplane.ebpf import headers, layout

FOLDER = Path(__file__).parent / "programs"
SOURCES = ("layout.h", "parse.h", "connections.h", "verdict.h", "endpoint.c")
PROGRAMS = ("from_endpoint", "to_endpoint")
STEPS = ("walk_rules", "deliver")
"""Programs that those go on in, in the order of the map `steps`."""
MAPS = (
    "endpoints", "more_addresses", "locals", "addresses", "prefixes", "identity_rows", "prefix_rows", "rules", "summaries", "stamps",
    "connections", "openings", "verdicts", "fragments", "walks", "steps", "counters", "rule_counts", "settings", "events",
)  # fmt: skip

EXIT_LACK = 3
"""The machine lacks something: standard output says what, as JSON."""


def source() -> str:
    """The programs' text: bcc reads maps in its main file only, so all parts are one."""
    return "".join((FOLDER / name).read_text() for name in SOURCES)


def main(pin_folder: Path, work_folder: Path) -> None:
    """Pin everything below `pin_folder`; the programs last, so that their presence says that all is there."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.build(work_folder / "headers"))
    try:
        from bcc import BPF, lib  # after the environment is set: bcc reads it when it is imported
    except ImportError as error:
        hint = "apt-get install python3-bpfcc; routes and tunnels still work"
        raise PlatformLack(f"bcc cannot be imported: {error}", hint=hint) from error

    flags = [f"-D{name}={size}" for name, size in layout.SIZES.items()]
    compiled = BPF(text=source(), cflags=[*flags, "-DCOARSE", "-Wno-macro-redefined"])
    pin_folder.mkdir(parents=True, exist_ok=True)
    pins = [(name, compiled[name].map_fd) for name in MAPS]
    for place, name in enumerate(STEPS):
        compiled["steps"][ctypes.c_int(place)] = ctypes.c_int(compiled.load_func(name, BPF.SCHED_CLS).fd)
    pins += [(name, compiled.load_func(name, BPF.SCHED_CLS).fd) for name in PROGRAMS]
    for name, fd in pins:
        target = pin_folder / name
        target.unlink(missing_ok=True)
        if lib.bpf_obj_pin(fd, ctypes.c_char_p(str(target).encode())) != 0:
            raise OSError(ctypes.get_errno(), f"pin {target}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except PlatformLack as lack:
        sys.stdout.write(json.dumps({"message": lack.message, "hint": lack.hint}))
        sys.exit(EXIT_LACK)
