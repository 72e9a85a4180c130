"""A node's pinned maps, opened to be read: which folder, and what the kernel says of each map."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import DriverError, Forbidden, NotFound
from nodeagent.dataplane.ebpf import loader
from nodeagent.dataplane.ebpf.bpf import NO_BATCH, PinnedMap, errno_of, open_pin, possible_processors
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.upkeep.generations import STAGING, TORN

RIGHTS = {"BPF": 39, "SYS_ADMIN": 21}
"""Capabilities of which one lets a process open pins; numbers of linux/capability.h."""
HASHES = {1: "hash", 5: "per-processor hash", 9: "LRU hash", 10: "LRU hash", 11: "prefixes (trie)"}
ARRAYS = {2: "array", 6: "per-processor array", 3: "programs"}
RING = 27
PER_PROCESSOR = (5, 6, 10)
EVICTING = (9, 10)
"""Numbers of linux/bpf.h (enum bpf_map_type)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFacts:
    """What the kernel says of a map (/proc/self/fdinfo). `memory`: bytes that it takes now."""

    name: str
    kind: int
    key_size: int
    value_size: int
    capacity: int
    memory: int

    @property
    def kind_name(self) -> str:
        """For people."""
        return HASHES.get(self.kind) or ARRAYS.get(self.kind) or ("ring" if self.kind == RING else "other")


class Pins:
    """The maps of one generation of programs. Reads only; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, PinnedMap] = {}

    def __enter__(self) -> "Pins":
        return self

    def __exit__(self, *_: Any) -> None:
        for held in self._open.values():
            held.close()
        self._open = {}

    def map(self, name: str) -> PinnedMap:
        """One map, opened once. Raises DriverError, Forbidden or NotFound."""
        if name not in self._open:
            facts = self.facts(name)
            copies = possible_processors() if facts.kind in PER_PROCESSOR else 1
            self._open[name] = PinnedMap(self.folder / name, facts.key_size, facts.value_size, copies)
        return self._open[name]

    def facts(self, name: str) -> MapFacts:
        """What the kernel says of one map."""
        path = self.folder / name
        if not path.exists():
            raise NotFound(
                f"{path} is not there", hint="does the agent load its programs just now? ask again"
            )
        descriptor = open_pin(path)
        try:
            text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        finally:
            os.close(descriptor)
        said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return MapFacts(
            name=name,
            kind=int(said["map_type"]),
            key_size=int(said["key_size"]),
            value_size=int(said["value_size"]),
            capacity=int(said["max_entries"]),
            memory=int(said["memlock"]),
        )

    def entries(self, name: str, *, is_sparse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """All entries, as they are met: a large map is never held whole. `is_sparse`: values of nothing but zeros may be left out, which costs little where most are
        so."""
        held = self.map(name)
        try:
            for keys, values, size in held.chunks():
                if is_sparse and values.count(0) == len(values):
                    continue
                k, v = held.key_size, held.value_size
                yield from ((keys[n * k : n * k + k], values[n * v : n * v + v]) for n in range(size))
        except DriverError as error:
            if errno_of(error) not in NO_BATCH:
                raise
            yield from held.items_one_by_one()


def open_pins(pin_dir: Path) -> Pins:
    """The pins of a node whose layout this release knows. Raises Forbidden without rights, NotFound where there are none."""
    must_have_rights()
    names = [path.name for path in generations(pin_dir)]
    ours = EbpfDriver(pin_dir, pin_dir).generation
    if ours.name not in names:
        raise NotFound(
            f"the programs pinned in {pin_dir} are another release's ({', '.join(names)}; this one's are {ours.name})",
            hint="ask by the release that the agent runs, or start this release's agent",
        )
    return Pins(ours)


def generations(pin_dir: Path) -> list[Path]:
    """The folders of complete generations, this release's or not. Raises NotFound when there is none."""
    hint = "is the agent of this node running, and with eBPF? see: causeway agent status; causeway doctor"
    try:
        found = [path for path in sorted(pin_dir.iterdir()) if _is_generation(path)]
    except FileNotFoundError as error:
        raise NotFound(f"no pins of this node: {pin_dir} is not there", hint=hint) from error
    except PermissionError as error:
        raise Forbidden(f"{pin_dir} may not be read", hint="ask as root") from error
    if not found:
        raise NotFound(f"no pins of this node: {pin_dir} holds no programs", hint=hint)
    return found


def _is_generation(folder: Path) -> bool:
    is_made_just_now = folder.name.endswith((STAGING, TORN))
    return not is_made_just_now and (folder / loader.PROGRAMS[-1]).exists()


def must_have_rights(status: Path = Path("/proc/self/status")) -> None:
    """Raises Forbidden when this process may not read the kernel's maps."""
    lines = status.read_text().splitlines()
    held = int(next(line.split()[1] for line in lines if line.startswith("CapEff")), 16)
    if not any(held >> bit & 1 for bit in RIGHTS.values()):
        hint = "run it as root (sudo), or with CAP_BPF and CAP_PERFMON"
        raise Forbidden("this user may not read the kernel's maps", hint=hint)
