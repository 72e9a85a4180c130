"""Where our programs hang on interfaces: by tcx where the kernel has it, else as filters of clsact."""

from collections.abc import Collection, Mapping
from pathlib import Path

from nodeagent.dataplane.linux import filters, tcx
from nodeagent.dataplane.linux.filters import Hung

FOLDER = "links"
"""Of the pins: the links of tcx."""


class Hooks:
    """Those of one node. `has_tcx`: whether the kernel has it; None: found out."""

    def __init__(self, pin_dir: Path, has_tcx: bool | None = None) -> None:
        self._links = pin_dir / FOLDER
        self._has_tcx = has_tcx
        self._classic: set[int] = set()
        """Interfaces that carry filters of ours, as far as is known."""

    def attach(self, index: int, programs: Mapping[str, Path]) -> None:
        """Hang both programs (of what comes in, of what goes out) on an interface, replacing older ones of ours of the same names, new
        before old. Raises DriverError or PlatformLack."""
        if self._has_tcx is not False:
            self._has_tcx = tcx.attach(index, programs, self._links)
        if not self._has_tcx:
            ingress, egress = programs.values()
            filters.attach(index, ingress, egress)
            self._classic.add(index)
        elif index in self._classic:
            filters.detach(index)
            self._classic.discard(index)

    def look(self) -> Hung:
        """What hangs in this namespace."""
        classic, links = filters.look(), tcx.look(self._links)
        self._classic = set(classic.ours)
        ours = {
            i: classic.ours.get(i, set()) | links.get(i, set()) for i in classic.ours.keys() | links.keys()
        }
        crowded = {index for index, names in links.items() if tcx.count(index) > len(names)}
        return Hung(ours, classic.shared | crowded)

    def release(self, index: int, names: Collection[str]) -> None:
        """Take programs off an interface in whose place others hang."""
        if self._has_tcx:  # a filter was replaced
            tcx.release(index, names, self._links)

    def detach(self, index: int) -> None:
        """Take our programs off an interface; nothing else. An interface that is gone is no error."""
        tcx.detach(index, self._links)
        if index in self._classic:
            filters.detach(index)
