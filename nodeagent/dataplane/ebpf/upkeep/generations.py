"""The folders of pins below a node's own, one for each generation of programs and layouts: which is whole, and what a new one takes over.

A folder's symbolic link `shape` (the only text that a bpffs keeps) says what its connections look like, and where in its endpoints' entries the
highest bank and epoch stand, so that a release with other structs can tell.
"""

import hashlib
import os
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from federation.errors import DriverError
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.bpf import PinnedMap, open_pin
from nodeagent.dataplane.linux.hooks import FOLDER

CARRIED = ("connections", "openings", "fragments")
"""Maps that a new generation goes on with, when their entries mean the same to it."""
STRUCTS = ("ip", "connection_key", "side", "connection", "fragment_key", "fragment")
SHAPE = "shape"
STAGING, TORN = "-new", "-torn"
"""Ends of the names of a folder that is being filled, and of one that lacks a pin."""


def shape(source: str) -> str:
    """What a link says of programs with that text. Raises ValueError when the text does not declare what is carried."""
    parts = [_declaration(source, name) for name in CARRIED]
    parts += [_only(rf"struct {name} \{{.*?\}};", source) for name in STRUCTS]
    parts.append(_only(r"enum \{ OPENING.*?\};", source))
    text = repr([re.sub(r"//[^\n]*", "", part).split() for part in parts])
    sizes = repr([layout.SIZES[name] for name in ("CONNECTIONS", "OPENINGS")])
    at = layout.mark(0, 0x01020304).index(struct.pack("=I", 0x01020304))
    return f"{hashlib.sha256((text + sizes).encode()).hexdigest()[:16]} {at}"


def is_whole(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether every pin is there."""
    return all((folder / name).exists() for name in names) and (folder / SHAPE).is_symlink()


def make_way(folder: Path) -> None:
    """Put a folder that is not whole aside: its programs judge on, and its connections may be carried over."""
    shutil.rmtree(folder.with_name(folder.name + STAGING), ignore_errors=True)
    if folder.exists():
        torn = folder.with_name(folder.name + TORN)
        shutil.rmtree(torn, ignore_errors=True)
        folder.rename(torn)


def donor(pin_dir: Path, wanted: str) -> Path | None:
    """The generation whose connections a new one of that shape goes on with: of several the one that was told most."""
    able = [
        folder
        for folder in folders(pin_dir)
        if _said(folder).split()[:1] == wanted.split()[:1]
        and all((folder / name).exists() for name in CARRIED)
    ]
    return max(able, key=epoch_of, default=None)


def highest_epoch(pin_dir: Path) -> int:
    """The highest that any generation here has begun: a new one goes on above it, or what was allowed before would look fresh."""
    return max(map(epoch_of, folders(pin_dir)), default=0)


def epoch_of(folder: Path) -> int:
    """The highest epoch that a generation's endpoints have had; 0 when it cannot be told."""
    at = int([*_said(folder).split(), "-1", "-1"][1])
    try:
        if at < 0:
            return 0
        sizes = _sizes(folder / "endpoints")
        if at + 4 > sizes[1]:
            return 0
        held = PinnedMap(folder / "endpoints", *sizes)
        try:
            return max((struct.unpack_from("=I", value, at)[0] for _, value in held.items()), default=0)
        finally:
            held.close()
    except DriverError:
        return 0


def folders(pin_dir: Path) -> Iterator[Path]:
    """All that there are, also those that are not whole."""
    if pin_dir.is_dir():
        found = (path for path in sorted(pin_dir.iterdir()) if path.name != FOLDER)
        yield from (path for path in found if path.is_dir() and not path.is_symlink())


def remove_others(pin_dir: Path, kept: Path) -> None:
    """Remove the pins of all generations but one. What hangs somewhere goes on."""
    for folder in folders(pin_dir):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)


def _said(folder: Path) -> str:
    try:
        return os.readlink(folder / SHAPE)
    except OSError:
        return ""


def _sizes(pin: Path) -> tuple[int, int]:
    """Bytes of a pinned map's keys and values. Raises DriverError."""
    descriptor = open_pin(pin)
    try:
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    found = dict(re.findall(r"^(\w+):\s+(\d+)$", told, re.M))
    return int(found["key_size"]), int(found["value_size"])


def _pattern(name: str) -> str:
    return rf'BPF_(?:F_)?TABLE\("(\w+)", ([^;"]*?\b{name}, \w+)(, \w+)?\);'


def _declaration(source: str, name: str) -> str:
    return _only(_pattern(name), source)


def _only(pattern: str, source: str) -> str:
    found = [match.group(0) for match in re.finditer(pattern, source, re.S)]
    if len(found) != 1:
        raise ValueError(f"{pattern} is declared {len(found)} times")
    return found[0]
