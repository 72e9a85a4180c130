"""Compiled programs, as they are kept: instructions, and which maps they ask for by name. No process and no kernel is in them, so one compilation
does for every start, every generation and every node of one release."""

import hashlib
import json
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

FOLDER_NAME, ENDING = "objects", ".ebpf"
FOLDER_VARIABLE = "CAUSEWAY_OBJECTS"
"""Environment: a folder of objects that several agents share, or that came with the release."""
KEPT = 3
"""Objects of so many releases: going back to one before needs no compiler."""
INSTRUCTION, LOAD_WIDE, MAP_REFERENCE = struct.Struct("<BBhi"), 0x18, 1
"""linux/bpf.h: opcode, registers, offset, immediate; BPF_LD|BPF_DW|BPF_IMM; BPF_PSEUDO_MAP_FD."""
LOG = structlog.get_logger("datapath")


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a map is made with (struct bpf_map_info); sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Program:
    """`asks`: the maps that instructions name, by the instruction's place. Its own immediate is then nothing."""

    kind: int
    code: bytes
    asks: Mapping[int, str]

    @classmethod
    def of(cls, kind: int, code: bytes, maps: Mapping[int, str]) -> "Program":
        """From loaded instructions, in which maps are the process's descriptors."""
        asks, plain = {}, bytearray(code)
        for at in range(0, len(code), INSTRUCTION.size):
            opcode, registers, offset, immediate = INSTRUCTION.unpack_from(code, at)
            if opcode == LOAD_WIDE and registers >> 4 == MAP_REFERENCE:
                asks[at // INSTRUCTION.size] = maps[immediate]
                INSTRUCTION.pack_into(plain, at, opcode, registers, offset, 0)
        return cls(kind, bytes(plain), asks)

    def with_maps(self, descriptors: Mapping[str, int]) -> bytes:
        """The instructions, with a process's descriptors."""
        code = bytearray(self.code)
        for place, name in self.asks.items():
            struct.pack_into("<i", code, place * INSTRUCTION.size + 4, descriptors[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Objects:
    """All maps and programs, by name."""

    maps: Mapping[str, MapShape]
    programs: Mapping[str, Program]


def key_of(source: str, flags: list[str]) -> str:
    """What a kept file must have been compiled from."""
    return hashlib.sha256("\0".join([source, *flags]).encode()).hexdigest()


def pack(objects: Objects, key: str) -> bytes:
    """A line of JSON with a digest of what follows, a line of JSON, the instructions."""
    described = {
        "maps": {name: asdict(shape) for name, shape in objects.maps.items()},
        "programs": {
            name: {"kind": p.kind, "size": len(p.code), "asks": [[*ask] for ask in p.asks.items()]}
            for name, p in objects.programs.items()
        },
    }
    body = json.dumps(described).encode() + b"\n" + b"".join(p.code for p in objects.programs.values())
    head = {"key": key, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + body


def unpack(data: bytes, key: str) -> Objects:
    """Raises ValueError for what is not whole, or was compiled from something else."""
    try:
        first, body = data.split(b"\n", 1)
        head = json.loads(first)
        if (head["key"], head["sha256"]) != (key, hashlib.sha256(body).hexdigest()):
            raise ValueError("it is another one, or was altered")
        line, code = body.split(b"\n", 1)
        described = json.loads(line)
        programs, at = {}, 0
        for name, said in described["programs"].items():
            asks = {int(place): str(wanted) for place, wanted in said["asks"]}
            programs[name] = Program(said["kind"], code[at : at + said["size"]], asks)
            at += said["size"]
        return Objects({n: MapShape(**shape) for n, shape in described["maps"].items()}, programs)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not what was kept: {error!r}") from error


def folder_of(work_folder: Path) -> Path:
    """Where objects are kept: the node's own folder, or the one that the environment names."""
    return Path(os.environ.get(FOLDER_VARIABLE) or work_folder / FOLDER_NAME)


def find(folder: Path, key: str) -> Objects | None:
    """What was kept under that key; None: nothing, or nothing to be trusted (it goes into the kernel), which is said."""
    path = _path(folder, key)
    try:
        for place in (folder, path):
            said = place.stat()
            if said.st_uid != os.geteuid() or said.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                LOG.warning(
                    "compiled programs are passed over", path=str(place), detail="others may write there"
                )
                return None
        return unpack(path.read_bytes(), key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        LOG.warning("compiled programs are passed over", path=str(path), detail=str(error))
        return None


def keep(folder: Path, key: str, objects: Objects) -> None:
    """For the next start. That there is no room is said, and no error: it is compiled again then."""
    path = _path(folder, key)
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_bytes(pack(objects, key))
        fresh.chmod(0o600)
        fresh.replace(path)
        older = sorted(folder.glob(f"*{ENDING}"), key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]
        for old in older:
            old.unlink(missing_ok=True)
    except OSError as error:
        LOG.warning("compiled programs are not kept", path=str(path), detail=str(error))
        fresh.unlink(missing_ok=True)


def _path(folder: Path, key: str) -> Path:
    return folder / (key[:16] + ENDING)
