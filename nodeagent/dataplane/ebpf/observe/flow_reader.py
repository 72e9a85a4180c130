"""Drains the ring of flow events into windows, and these into the log. Bounded: what it cannot keep up with the kernel counts as lost."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federation.policy.tables import RuleReference
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.connections import protocol_name
from nodeagent.dataplane.ebpf.inspect.decode import KINDS, Event
from nodeagent.dataplane.ebpf.inspect.names import said_of
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.inspect.ring import Ring
from nodeagent.dataplane.ebpf.observe import flow_log
from nodeagent.dataplane.ebpf.observe.counters import reasons
from nodeagent.dataplane.ebpf.observe.flows import Flow, Window
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.settings import AgentSettings

SECONDS, BUSY_SECONDS = 1.0, 0.1
"""Between two looks at the ring, which nobody is woken for; and when it was filled by half meanwhile."""
WANTED = {"off": (), "denied": ("denied", "cut", "logged"), "all": KINDS}
CHANGED = "a rule that was changed meanwhile"


class FlowReader:
    """The one reader of a node's ring. It tells the programs what is wanted, also those of a new generation."""

    def __init__(
        self,
        driver: NotedDriver,
        settings: AgentSettings,
        generation: Path,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.read = 0
        """Events since the start."""
        self.lost = 0
        """Those that the ring had no room for, since the start."""
        self._driver = driver
        self._settings = settings
        self._generation = generation
        self._monotonic = monotonic
        self._window = Window(settings.flow_sample)
        self._began = monotonic()
        self._turn = -1
        self._endpoints: dict[layout.Address, str] = {}
        self._rules: Mapping[int, RuleReference] = {}
        self._unsure: frozenset[int] = frozenset()
        self._ring: Ring | None = None
        self._pin = 0
        self._known_lost = 0
        self._lost_in_window = 0

    def drain(self) -> float:
        """Once; seconds to the next time. Raises DriverError or OSError."""
        if not (self._generation / "to_endpoint").exists():
            return SECONDS
        self._open()
        if self._ring is None:
            return SECONDS
        self._name()
        is_busy = self._ring.unread > self._ring.size // 2
        most = self._ring.size // layout.EVENT.size
        self.read += self._window.add(self._events(most), self._endpoint, self._rule)
        if self._monotonic() - self._began >= self._settings.flow_seconds:
            self.finish_window()
        return BUSY_SECONDS if is_busy else SECONDS

    def finish_window(self) -> None:
        """Write what came since the last one. Raises DriverError or OSError."""
        self._count_lost()
        others, flows = self._window.others, self._window.take()
        seconds, self._began = self._monotonic() - self._began, self._monotonic()
        at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
        lines = [_line(flow, at, seconds) for flow in flows]
        if others or self._lost_in_window:
            lines.append({"at": at, "lost": self._lost_in_window, "others": others})
        self._lost_in_window = 0
        flow_log.append(self._settings.state_dir, lines)

    def close(self) -> None:
        """Give the ring back."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _open(self) -> None:
        """Open the ring of the programs that hang now, and tell them what is wanted. A pin that was made anew is another ring."""
        pin = os.stat(self._generation / "events").st_ino
        if pin == self._pin:
            return
        self.close()
        wanted = WANTED[self._settings.flows]
        bits = sum(1 << KINDS.index(kind) for kind in wanted)
        with Pins(self._generation) as pins:
            value = layout.SETTINGS.pack(bits, self._settings.flow_sample)
            pins.map("settings").update({layout.NUMBER.pack(0): value})
            self._known_lost = reasons(pins)["event lost"]
            if wanted:
                self._ring = Ring(self._generation / "events", pins.facts("events").capacity)
        self._pin = pin

    def _count_lost(self) -> None:
        with Pins(self._generation) as pins:
            now = reasons(pins)["event lost"]
        more = now - self._known_lost if now >= self._known_lost else now
        self._known_lost = now
        self._lost_in_window += more
        self.lost += more

    def _name(self) -> None:
        """Names for the events that come next. Events that were told before a rule got another's number are not named by it."""
        turn, done = self._driver.standing()
        if turn == self._turn or done is None:
            self._unsure = frozenset()
            return
        rules = done.tables.references
        if rules is not self._rules:
            self._unsure = frozenset(
                n for n, reference in self._rules.items() if rules.get(n, reference) != reference
            )
        self._turn, self._rules = turn, rules
        self._endpoints = {address: a.endpoint for a in done.attachments for address in a.addresses}

    def _events(self, most: int) -> Iterator[Event]:
        assert self._ring is not None
        return (decode.event(raw) for raw in self._ring.read(most))

    def _endpoint(self, event: Event) -> str:
        return self._endpoints.get(event.local) or str(event.local)

    def _rule(self, event: Event) -> str:
        if event.rule_id is None:
            return ""
        if event.rule_id in self._unsure or event.rule_id not in self._rules:
            return CHANGED
        return said_of(self._rules[event.rule_id])


def _line(flow: Flow, at: str, seconds: float) -> dict[str, Any]:
    key = flow.key
    return {
        "at": at,
        "seconds": round(seconds, 1),
        "endpoint": key.endpoint,
        "address": flow.local,
        "direction": key.direction.name.lower(),
        "peer": flow.remote,
        "identity": key.peer,
        "protocol": protocol_name(key.protocol),
        "port": key.port,
        "verdict": key.verdict,
        "reason": key.reason,
        "rule": key.rule,
        "times": flow.times,
        "closed": flow.closed,
        "packets": flow.packets,
        "bytes": flow.bytes,
        "tcpFlags": flow.tcp_flags,
    }
