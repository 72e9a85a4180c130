"""bpf(2) on pinned objects, by ctypes: the agent needs no compiler in its memory. Constants: linux/bpf.h."""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from federation.errors import CausewayError, DriverError, PlatformLack

SYSCALL = {"x86_64": 321, "aarch64": 280}
CREATE, LOOKUP, UPDATE, DELETE, NEXT_KEY, LOAD, OBJ_PIN, OBJ_GET, INFO = 0, 1, 2, 3, 4, 5, 6, 7, 15
LOOKUP_BATCH, UPDATE_BATCH, DELETE_BATCH = 24, 26, 27
NO_BATCH = (errno.EINVAL, errno.EOPNOTSUPP, 524)
"""How kernels say that a map has no batches (524: ENOTSUPP)."""
READ_AT_ONCE = 4096
NAME_SIZE = 16
"""BPF_OBJ_NAME_LEN, with the zero at its end."""
VERIFIER_LOG, VERIFIER_LINES = 16 << 20, 12
"""Bytes that the verifier may write, and how many lines of it are told."""
LIBC = ctypes.CDLL(None, use_errno=True)


class _Element(ctypes.Structure):
    _fields_ = [("map_fd", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("key", ctypes.c_uint64), ("value", ctypes.c_uint64), ("flags", ctypes.c_uint64)]  # fmt: skip


class Batch(ctypes.Structure):
    """What bpf(2) takes for many entries at once."""

    _fields_ = [
        ("in_batch", ctypes.c_uint64), ("out_batch", ctypes.c_uint64), ("keys", ctypes.c_uint64), ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32), ("map_fd", ctypes.c_uint32), ("elem_flags", ctypes.c_uint64), ("flags", ctypes.c_uint64),
    ]  # fmt: skip


class _Path(ctypes.Structure):
    _fields_ = [
        ("path", ctypes.c_uint64),
        ("fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pad", ctypes.c_uint64),
    ]


class Info(ctypes.Structure):
    """Where the kernel is to tell what an object is."""

    _fields_ = [("fd", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64)]


class _Map(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32), ("key_size", ctypes.c_uint32), ("value_size", ctypes.c_uint32), ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32), ("inner", ctypes.c_uint32), ("numa_node", ctypes.c_uint32), ("name", ctypes.c_char * NAME_SIZE),
    ]  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32), ("count", ctypes.c_uint32), ("code", ctypes.c_uint64), ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32), ("log_size", ctypes.c_uint32), ("log", ctypes.c_uint64),
        ("kernel", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("name", ctypes.c_char * NAME_SIZE),
    ]  # fmt: skip


def make_map(name: str, kind: int, key_size: int, value_size: int, entries: int, flags: int) -> int:
    """A new map's descriptor; sizes in bytes. Raises DriverError or PlatformLack."""
    wanted = _Map(
        kind=kind, key_size=key_size, value_size=value_size, entries=entries, flags=flags, name=name[: NAME_SIZE - 1].encode()
    )  # fmt: skip
    return call(CREATE, wanted, f"make map {name}")


def load_program(name: str, kind: int, code: bytes) -> int:
    """A loaded program's descriptor. Raises PlatformLack when the verifier refuses it; the end of its log is the message's."""
    raw, license_text = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    wanted = _Program(
        kind=kind, count=len(code) // 8, code=ctypes.addressof(raw), license=ctypes.addressof(license_text), name=name[: NAME_SIZE - 1].encode()
    )  # fmt: skip
    try:
        return call(LOAD, wanted, f"load {name}")
    except CausewayError as error:
        log = ctypes.create_string_buffer(VERIFIER_LOG)
        wanted.log_level, wanted.log_size, wanted.log = 1, len(log), ctypes.addressof(log)
        try:
            return call(LOAD, wanted, f"load {name}")
        except CausewayError:
            said = log.value.decode(errors="replace").strip().splitlines()
            if not said:
                raise
            tail = "\n".join(said[-VERIFIER_LINES:])
            message = f"the programs do not load: the kernel refuses {name}: {tail}"
            raise PlatformLack(message, hint="run: causeway doctor") from error


def open_pin(path: Path) -> int:
    """A descriptor of a pinned map or program. Raises DriverError."""
    text = ctypes.create_string_buffer(str(path).encode())
    return call(OBJ_GET, _Path(path=ctypes.addressof(text)), f"open {path.name}")


def pin(descriptor: int, path: Path) -> None:
    """Give a map or a program a name on a bpffs. Raises DriverError."""
    text = ctypes.create_string_buffer(str(path).encode())
    call(OBJ_PIN, _Path(path=ctypes.addressof(text), fd=descriptor), f"pin {path.name}")


class PinnedMap:
    """One map: raw bytes in, raw bytes out."""

    def __init__(self, path: Path, key_size: int, value_size: int, copies: int = 1) -> None:
        """`copies`: values of an entry, one for each possible processor of a per-processor map."""
        self.name = path.name
        self.fd = open_pin(path)
        self.key_size = key_size
        self.value_size = value_size * copies
        self.copies = copies

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        """Write all entries, in one system call where the kernel has it."""
        if not entries:
            return
        keys, values = b"".join(entries), b"".join(value * self.copies for value in entries.values())
        if not self._batch(UPDATE_BATCH, keys, values, len(entries)):
            for key, value in entries.items():
                self._element(UPDATE, key, value * self.copies)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries; one that is not there is no error. In few system calls where the kernel has them."""
        at = 0
        while at < len(keys):
            done = self._delete_batch(keys[at:])
            if done is None:
                break
            at += done
        for key in keys[at:]:
            try:
                self._element(DELETE, key, None)
            except DriverError as error:
                if errno_of(error) != errno.ENOENT:
                    raise

    def lookup(self, key: bytes) -> bytes | None:
        """One entry's value, as the programs find it (a trie: by the longest prefix); None: not there."""
        value = ctypes.create_string_buffer(self.value_size)
        raw = ctypes.create_string_buffer(key, self.key_size)
        element = _Element(map_fd=self.fd, key=ctypes.addressof(raw), value=ctypes.addressof(value))
        try:
            call(LOOKUP, element, f"read {self.name}")
        except DriverError as error:
            if errno_of(error) == errno.ENOENT:
                return None
            raise
        return value.raw

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries, many in one system call where the kernel has it."""
        found = self._lookup_batches()
        yield from self.items_one_by_one() if found is None else found

    def joined(self) -> Iterator[tuple[bytes, bytes, int]]:
        """All entries as `chunks` gives them, also where the kernel has no such call."""
        try:
            yield from self.chunks()
        except DriverError as error:
            if errno_of(error) not in NO_BATCH:
                raise
            for key, value in self.items_one_by_one():
                yield key, value, 1

    def items_one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        """The same by two system calls each, for kernels without batches."""
        key: bytes | None = None
        while (key := self._next(key)) is not None:
            value = self.lookup(key)
            if value is not None:  # it went meanwhile, or is a place that holds no program
                yield key, value

    def close(self) -> None:
        """Give the descriptor back; the pin keeps the map."""
        os.close(self.fd)

    def _next(self, key: bytes | None) -> bytes | None:
        following = ctypes.create_string_buffer(self.key_size)
        raw = ctypes.create_string_buffer(key, self.key_size) if key is not None else None
        element = _Element(
            map_fd=self.fd, key=ctypes.addressof(raw) if raw else 0, value=ctypes.addressof(following)
        )
        try:
            call(NEXT_KEY, element, f"read {self.name}")
        except DriverError as error:
            if errno_of(error) == errno.ENOENT:
                return None
            raise
        return following.raw

    def _element(self, command: int, key: bytes, value: bytes | None) -> None:
        raw_key = ctypes.create_string_buffer(key, len(key))
        raw_value = ctypes.create_string_buffer(value, len(value)) if value is not None else None
        pointer = ctypes.addressof(raw_value) if raw_value else 0
        call(
            command,
            _Element(map_fd=self.fd, key=ctypes.addressof(raw_key), value=pointer),
            f"write {self.name}",
        )

    def _batch(self, command: int, keys: bytes, values: bytes, count: int) -> bool:
        raw_keys = ctypes.create_string_buffer(keys, len(keys))
        raw_values = ctypes.create_string_buffer(values, len(values))
        batch = Batch(
            keys=ctypes.addressof(raw_keys), values=ctypes.addressof(raw_values), count=count, map_fd=self.fd
        )
        try:
            call(command, batch, f"write {self.name}")
        except DriverError as error:
            if errno_of(error) in NO_BATCH:
                return False
            raise
        return True

    def _delete_batch(self, keys: Sequence[bytes]) -> int | None:
        """How many keys are dealt with, at least one; None where the kernel has no such call."""
        joined = b"".join(keys)
        raw = ctypes.create_string_buffer(joined, len(joined))
        batch = Batch(keys=ctypes.addressof(raw), count=len(keys), map_fd=self.fd)
        try:
            call(DELETE_BATCH, batch, f"write {self.name}")
        except DriverError as error:
            if (
                errno_of(error) == errno.ENOENT
            ):  # it ends at a key that is not there, and `count` were before it
                return int(batch.count) + 1
            if errno_of(error) in NO_BATCH:
                return None
            raise
        return len(keys)

    def chunks(self) -> Iterator[tuple[bytes, bytes, int]]:
        """All entries, joined as (keys, values, how many), some thousands at once. Raises DriverError; errno 22, 95 or 524 where the
        kernel has no such call."""
        keys = ctypes.create_string_buffer(READ_AT_ONCE * self.key_size)
        values = ctypes.create_string_buffer(READ_AT_ONCE * self.value_size)
        place = ctypes.create_string_buffer(max(self.key_size, 4))
        is_first = is_more = True
        while is_more:
            batch = Batch(
                in_batch=0 if is_first else ctypes.addressof(place), out_batch=ctypes.addressof(place),
                keys=ctypes.addressof(keys), values=ctypes.addressof(values), count=READ_AT_ONCE, map_fd=self.fd,
            )  # fmt: skip
            try:
                call(LOOKUP_BATCH, batch, f"read {self.name}")
            except DriverError as error:
                is_more = False
                if errno_of(error) != errno.ENOENT:  # which is the end
                    raise
            is_first = False
            size = int(batch.count)
            yield keys.raw[: size * self.key_size], values.raw[: size * self.value_size], size

    def _lookup_batches(self) -> list[tuple[bytes, bytes]] | None:
        k, v = self.key_size, self.value_size
        found: list[tuple[bytes, bytes]] = []
        try:
            for keys, values, size in self.chunks():
                found += [(keys[n * k : n * k + k], values[n * v : n * v + v]) for n in range(size)]
        except DriverError as error:
            if errno_of(error) in NO_BATCH:
                return None
            raise
        return found


def errno_of(error: CausewayError) -> int:
    """The kernel's number behind an error of `call`; 0 when there is none."""
    return (error.__cause__.errno or 0) if isinstance(error.__cause__, OSError) else 0


def possible_processors() -> int:
    """How many values an entry of a per-processor map has."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


def is_bpffs(path: Path) -> bool:
    """Whether a path, which need not exist yet, is or would be on a bpffs."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    around = [path, *path.parents]
    over = [(len(m[1]), n, m[2]) for n, m in enumerate(mounts) if Path(m[1]) in around]
    return max(over, default=(0, 0, ""))[2] == "bpf"


def call(command: int, attributes: ctypes.Structure, what: str) -> int:
    """The system call. Raises DriverError, from the OSError with the kernel's number, or PlatformLack without the rights."""
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise PlatformLack(
            f"bpf(2) is not known on {platform.machine()}", hint="routes and tunnels still work"
        )
    result: int = LIBC.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        code = ctypes.get_errno()
        cause = OSError(code, os.strerror(code))
        if code in (errno.EPERM, errno.EACCES):
            hint = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
            raise PlatformLack(f"{what}: no rights", hint=hint) from cause
        if code == errno.ENOMEM:
            hint = "raise the memory limit of the agent's control group, or (kernels before 5.11) LimitMEMLOCK; what stands goes on"
            raise DriverError(f"{what}: no memory for it", hint=hint) from cause
        reason = "the map is full" if code in (errno.E2BIG, errno.ENOSPC) else os.strerror(code)
        raise DriverError(f"{what}: {reason}") from cause
    return result
