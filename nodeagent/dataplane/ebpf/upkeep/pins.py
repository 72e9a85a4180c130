"""Every pin of a generation, held open: one that is removed or replaced by hand is made again of what it stood for."""

import os
import re
import struct
from pathlib import Path

from federation.errors import DriverError
from nodeagent.dataplane.ebpf import bpf

PLACE = struct.Struct("=I")


class Pins:
    """Descriptors by name. Raises DriverError when one is not there to begin with."""

    def __init__(self, folder: Path, names: tuple[str, ...], links: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}
        self._links = {name: os.readlink(folder / name) for name in links}
        try:
            for name in names:
                self._held[name] = bpf.open_pin(folder / name)
        except DriverError:
            self.close()
            raise

    def repair(self) -> list[str]:
        """Names of pins that stood for something else, or for nothing; they are right again. Raises DriverError."""
        lost = [name for name, held in self._held.items() if _number_at(self.folder / name) != _number(held)]
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in lost:
            (self.folder / name).unlink(missing_ok=True)
            bpf.pin(self._held[name], self.folder / name)
        for name, text in self._links.items():
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(text)
                lost.append(name)
        return lost

    def repair_calls(self, table: str, programs: tuple[str, ...]) -> list[str]:
        """Those of `programs` that a table of programs did not hold, in this order; it does again. Raises DriverError."""
        held, lost = bpf.PinnedMap(self.folder / table, PLACE.size, PLACE.size), []
        try:
            standing = dict(held.items())
            for place, name in enumerate(programs):
                if standing.get(PLACE.pack(place)) != PLACE.pack(int(_number(self._held[name]).split()[1])):
                    lost.append(name)  # it is read as a number, and written as a descriptor
                    held.update({PLACE.pack(place): PLACE.pack(self._held[name])})
            return lost
        finally:
            held.close()

    def close(self) -> None:
        """Give descriptors back."""
        for held in self._held.values():
            os.close(held)
        self._held = {}


def _number(descriptor: int) -> str:
    told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    found = re.search(r"^(map_id|prog_id):\s+(\d+)$", told, re.M)
    return f"{found[1]} {found[2]}" if found else ""


def _number_at(path: Path) -> str:
    try:
        descriptor = bpf.open_pin(path)
    except DriverError:
        return "nothing"
    try:
        return _number(descriptor)
    finally:
        os.close(descriptor)
