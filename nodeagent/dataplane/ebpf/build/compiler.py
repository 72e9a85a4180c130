"""The one door to bcc, which maps more than 100 MB and takes some seconds: asked only when nothing compiled is kept."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from federation.errors import PlatformLack
from nodeagent.dataplane.ebpf.bpf import INFO, Info, call
from nodeagent.dataplane.ebpf.build import headers
from nodeagent.dataplane.ebpf.build.objects import MapShape, Objects, Program


def compiled(
    source: str, flags: list[str], header_folder: Path, maps: tuple[str, ...], programs: Mapping[str, int]
) -> Objects:
    """`programs`: their kinds (BPF_PROG_TYPE_*) by name. Raises PlatformLack without bcc or headers; whatever bcc raises for a text that does
    not compile, or that the verifier refuses."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.build(header_folder))
    try:
        from bcc import BPF  # after the environment is set: bcc reads it when it is imported
    except ImportError as error:
        hint = "apt-get install python3-bpfcc; routes and tunnels still work"
        raise PlatformLack(f"bcc cannot be imported: {error}", hint=hint) from error

    made = BPF(text=source, cflags=[*flags, "-Wno-macro-redefined"])
    descriptors = {name: made[name].map_fd for name in maps}
    names = {descriptor: name for name, descriptor in descriptors.items()}
    return Objects(
        {name: _shape(descriptor, name) for name, descriptor in descriptors.items()},
        {name: Program.of(kind, made.dump_func(name), names) for name, kind in programs.items()},
    )


def _shape(descriptor: int, name: str) -> MapShape:
    words = (ctypes.c_uint32 * 16)()
    asked = Info(fd=descriptor, length=ctypes.sizeof(words), info=ctypes.addressof(words))
    call(INFO, asked, f"look at {name}")
    kind, _id, key_size, value_size, entries, flags = words[:6]
    return MapShape(kind, key_size, value_size, entries, flags)
