"""Events to flows: what is alike within a window is one line. Pure, and bounded whatever comes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from federation.policy.tables import Direction
from nodeagent.dataplane.ebpf.inspect.decode import Event

MOST = 4096
"""Flows of one window; events of further ones are counted, and told as so many others."""
VERDICTS = {"opened": "allowed", "closed": "allowed", "denied": "denied", "cut": "cut", "logged": "logged"}
"""What each kind of event says. `cut`: a connection that had been allowed is denied now; `logged`: a rule that logs has matched, and others
decided."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """What events of one flow have in common. `port` is the one that was opened to; `endpoint` an ObjectKey.path."""

    endpoint: str
    peer: int
    port: int
    protocol: int
    direction: Direction
    verdict: str
    reason: str
    rule: str


@dataclass(slots=True)
class Flow:
    """One line. `times`: connections that began, or packets that were denied; bytes and packets by Direction, of what has ended."""

    key: FlowKey
    local: str
    remote: str
    """The first one seen; others of the same identity may be among them."""
    times: int = 0
    closed: int = 0
    packets: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    tcp_flags: int = 0


class Window:
    """What came since the last `take`."""

    def __init__(self, sample: int = 1, most: int = MOST) -> None:
        """`sample`: one denial of so many is told, so each stands for that many."""
        self.others = 0
        self._sample = sample
        self._most = most
        self._flows: dict[FlowKey, Flow] = {}

    def add(
        self, events: Iterable[Event], endpoint: Callable[[Event], str], rule: Callable[[Event], str]
    ) -> int:
        """Take events, named by the two functions; how many they were."""
        count = 0
        for event in events:
            count += 1
            key = FlowKey(
                endpoint(event),
                event.peer,
                event.remote_port if event.direction is Direction.EGRESS else event.local_port,
                event.protocol,
                event.direction,
                VERDICTS[event.kind],
                event.reason if event.kind in ("denied", "cut") else "",
                rule(event),
            )
            flow = self._flows.get(key)
            if flow is None:
                if len(self._flows) >= self._most:
                    self.others += 1
                    continue
                flow = self._flows[key] = Flow(key, str(event.local), str(event.remote))
            self._take(flow, event)
        return count

    def take(self) -> list[Flow]:
        """All flows, the most frequent first; the next window begins."""
        found = sorted(self._flows.values(), key=lambda flow: -flow.times)
        self._flows = {}
        self.others = 0
        return found

    def _take(self, flow: Flow, event: Event) -> None:
        flow.tcp_flags |= event.tcp_flags
        if event.kind in ("opened", "logged"):
            flow.times += 1
            return
        weight = self._sample if event.kind == "denied" else 1
        if event.kind == "closed":
            flow.closed += 1
        else:
            flow.times += weight
        for way in Direction:
            flow.packets[way] += event.packets[way] * weight
            flow.bytes[way] += event.bytes[way] * weight
