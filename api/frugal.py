"""What keeps the agent's process small: libraries that it does not need, and a heap that gives memory back.

httpx and structlog take rich, pygments and click when they are installed, as they are for the command line: 5 MiB, for output that no agent makes.
"""

import ctypes
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

UNNEEDED = ("rich", "click")
NETLINK = {"IPRoute": "pyroute2.iproute", "WireGuard": "pyroute2.netlink.generic.wireguard"}
"""What is asked of pyroute2, and where it stands. The package's own __init__ imports all of its protocols, and a database: 5 MiB more."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""malloc.h."""
THRESHOLD = 4 << 20
"""Bytes: what is larger goes back at once; a round's copies of dicts are not, and to map them anew each time would cost more than the round.
glibc raises both of its thresholds to 32 MiB and more when nobody sets them."""

TRIM_SECONDS = 20.0


def begin() -> None:
    """Before any other import of the process. The C library may be another one than glibc: then its heap is as it is."""
    for name in UNNEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # makes an import fail
    found = find_spec("pyroute2")
    if found is not None and "pyroute2" not in sys.modules:
        sys.modules["pyroute2"] = _bare(found.submodule_search_locations)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)  # the interpreter's lock lets one thread allocate at a time anyhow
        libc.mallopt(M_MMAP_THRESHOLD, THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, THRESHOLD)


def _bare(places: list[str] | None) -> ModuleType:
    """pyroute2 as a package of its modules alone."""

    def attribute(name: str) -> object:
        if name not in NETLINK:
            raise AttributeError(f"{name} is not in NETLINK")
        return getattr(import_module(NETLINK[name]), name)

    package = ModuleType("pyroute2")
    package.__path__ = places or []
    package.__getattr__ = attribute  # type: ignore[method-assign]
    return package


def trim() -> float:
    """Give back what is free in the middle of the heap too, some milliseconds' work; seconds to the next time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return TRIM_SECONDS
