"""Keeps the file of names beside what the maps hold."""

from pathlib import Path

from nodeagent.dataplane.ebpf.inspect import names
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver

SECONDS = 1.0


class NameKeeper:
    """Writes names once they are others than those in the file."""

    def __init__(self, driver: NotedDriver, state_dir: Path, generation: Path) -> None:
        self._driver = driver
        self._state_dir = state_dir
        self._generation = generation
        self._turn = -1
        self._written: names.NodeNames | None = None

    def keep(self) -> float:
        """Once; seconds to the next time. Raises CausewayError."""
        turn, done = self._driver.standing()
        if done is None or turn == self._turn:
            return SECONDS
        with Pins(self._generation) as pins:
            found = names.names_of(done, pins)
        if self._driver.turn != turn:
            return SECONDS  # the maps have moved on while they were read
        if found != self._written:
            names.save(self._state_dir, found)
            self._written = found
        self._turn = turn
        return SECONDS
