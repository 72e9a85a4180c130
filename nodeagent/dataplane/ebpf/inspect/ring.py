"""A BPF ring buffer, read by its memory: no system call for an event, no library. See kernel/bpf/ringbuf.c.

Two mappings of the pinned map: the consumer's page, which we write, and behind it the producer's page and the data, twice in a row, so that a
record that goes over the end is in one piece. A record is 8 bytes of head (length with two flags, then an offset of the kernel's own) and its
content, rounded up to 8. The reader's position is published after a record was copied, so that the kernel never writes over what is being read.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from federation.errors import DriverError
from nodeagent.dataplane.ebpf.bpf import open_pin

BUSY, DISCARDED = 1 << 31, 1 << 30
HEAD = struct.Struct("=II")
PAGE = mmap.PAGESIZE


class Ring:
    """The one reader of a pinned ring (the kernel knows one position only). Raises DriverError when it cannot be opened."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` is the map's `max_entries`, in bytes."""
        self.size = size
        self._fd = open_pin(path)
        try:
            self._consumer = mmap.mmap(self._fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._data = mmap.mmap(self._fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        except (OSError, ValueError) as error:
            os.close(self._fd)
            raise DriverError(f"{path.name} cannot be mapped: {error}") from error
        self._position = memoryview(self._consumer).cast("Q")
        self._produced = memoryview(self._data)[:PAGE].cast("Q")

    @property
    def unread(self) -> int:
        """Bytes that wait, heads included."""
        return self._produced[0] - self._position[0]

    def read(self, most: int) -> Iterator[bytes]:
        """What waits, oldest first, `most` records at most. Ends before one that is being written; what was discarded is passed over."""
        position, produced = self._position[0], self._produced[0]
        while position < produced and most > 0:
            at = PAGE + position % self.size
            (length, _) = HEAD.unpack_from(self._data, at)
            if length & BUSY:
                return
            is_discarded, length = bool(length & DISCARDED), length & ~DISCARDED
            content = b"" if is_discarded else self._data[at + HEAD.size : at + HEAD.size + length]
            position += (length + HEAD.size + 7) & ~7
            self._position[0] = position
            if not is_discarded:
                most -= 1
                yield content

    def close(self) -> None:
        """Give the memory back."""
        self._position.release()
        self._produced.release()
        self._consumer.close()
        self._data.close()
        os.close(self._fd)


def unread(descriptor: int, size: int) -> int:
    """Bytes that wait in a ring, without becoming its reader."""
    with (
        mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as consumer,
        mmap.mmap(descriptor, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE) as produced,
    ):
        before, after = struct.unpack_from("=Q", consumer)[0], struct.unpack_from("=Q", produced)[0]
    return int(after - before)
