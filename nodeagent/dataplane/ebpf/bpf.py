"""bpf(2) on pinned objects, by ctypes: the agent needs no compiler in its memory. Constants: linux/bpf.h."""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

from federation.errors import DriverError

SYSCALL = {"x86_64": 321, "aarch64": 280}
LOOKUP, UPDATE, DELETE, NEXT_KEY, OBJ_GET = 1, 2, 3, 4, 7
UPDATE_BATCH, DELETE_BATCH = 26, 27
LIBC = ctypes.CDLL(None, use_errno=True)


class _Element(ctypes.Structure):
    _fields_ = [("map_fd", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("key", ctypes.c_uint64), ("value", ctypes.c_uint64), ("flags", ctypes.c_uint64)]  # fmt: skip


class _Batch(ctypes.Structure):
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


def open_pin(path: Path) -> int:
    """A descriptor of a pinned map or program. Raises DriverError."""
    text = ctypes.create_string_buffer(str(path).encode())
    return call(OBJ_GET, _Path(path=ctypes.addressof(text)), f"open {path.name}")


class PinnedMap:
    """One map: raw bytes in, raw bytes out."""

    def __init__(self, path: Path, key_size: int, value_size: int) -> None:
        self.name = path.name
        self.fd = open_pin(path)
        self.key_size = key_size
        self.value_size = value_size

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        """Write all entries, in one system call where the kernel has it."""
        if not entries:
            return
        keys, values = b"".join(entries), b"".join(entries.values())
        if not self._batch(UPDATE_BATCH, keys, values, len(entries)):
            for key, value in entries.items():
                self._element(UPDATE, key, value)

    def delete(self, keys: list[bytes]) -> None:
        """Remove entries; one that is not there is no error."""
        for key in keys:
            try:
                self._element(DELETE, key, None)
            except DriverError as error:
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENOENT:
                    raise

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries, one look-up each: for start-up and tests, not for large maps in a hurry."""
        key: bytes | None = None
        while (key := self._next(key)) is not None:
            value = ctypes.create_string_buffer(self.value_size)
            raw = ctypes.create_string_buffer(key, self.key_size)
            element = _Element(map_fd=self.fd, key=ctypes.addressof(raw), value=ctypes.addressof(value))
            call(LOOKUP, element, f"read {self.name}")
            yield key, value.raw

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
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOENT:
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
        batch = _Batch(
            keys=ctypes.addressof(raw_keys), values=ctypes.addressof(raw_values), count=count, map_fd=self.fd
        )
        try:
            call(command, batch, f"write {self.name}")
        except DriverError as error:
            known = (errno.EINVAL, errno.EOPNOTSUPP, 524)
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in known:
                return False
            raise
        return True


def call(command: int, attributes: ctypes.Structure, what: str) -> int:
    """The system call. Raises DriverError, from the OSError with the kernel's number."""
    number = SYSCALL[platform.machine()]
    result: int = LIBC.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        code = ctypes.get_errno()
        reason = "the map is full" if code in (errno.E2BIG, errno.ENOSPC) else os.strerror(code)
        raise DriverError(f"{what}: {reason}") from OSError(code, os.strerror(code))
    return result
