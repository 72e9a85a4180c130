"""What each round is to make of the node's own interfaces. They are looked at when something may have changed: that costs more than a round."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from federation.policy.tables import HostClasses
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.arena import Lines
from nodeagent.dataplane.ebpf.hosts import faces
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.dataplane.ebpf.plan import HostPlace
from nodeagent.drivers import DesiredPolicy, HostAttachment, ObjectReport

TOO_LONG = f"more than {layout.MAX_RULES} rules or {layout.ROW_BITS} selectors: what is beyond is denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Places, host endpoints, names and what was seen by interface's index; what is to be told."""

    places: Mapping[int, HostPlace] = field(default_factory=dict)
    hosts: Mapping[int, HostAttachment] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    interfaces: Mapping[int, Interface] = field(default_factory=dict)
    reports: tuple[ObjectReport, ...] = ()

    def fault(self, index: int, message: str, reason: str = "not-enforced") -> ObjectReport:
        """Of the host endpoint of an interface."""
        return faces.fault(self.hosts[index], f"{self.names[index]}: {message}", reason)


class Rounds:
    """Remembers what was seen of interfaces. `look` tells what there are."""

    def __init__(self, look: Callable[[], Iterable[Interface]]) -> None:
        self._look = look
        self._seen: tuple[Interface, ...] | None = None
        self._hosts: tuple[HostAttachment, ...] = ()

    def next(self, desired: DesiredPolicy, endpoints: Collection[int], *, must_look: bool) -> Round:
        """What is to be. `endpoints`: indexes of endpoints' interfaces. Raises DriverError or PlatformLack."""
        if not desired.hosts:
            self._seen = None
            return Round()
        if self._seen is None or must_look or desired.hosts != self._hosts:
            self._seen, self._hosts = tuple(self._look()), desired.hosts
        found = faces.chosen(desired.hosts, self._seen, endpoints)
        known = {each.index: each for each in self._seen}
        lists: dict[HostClasses, tuple[Lines, ...]] = {}
        reports = list(found.reports)
        for host in desired.hosts:
            lists[host.classes] = faces.lists_of(desired.tables, host.classes)
            if not faces.is_whole(desired.tables, host.classes):
                reports.append(faces.fault(host, TOO_LONG))
        return Round(
            places={
                i: HostPlace(
                    lists[host.classes],
                    known[i].is_bare,
                    faces.failsafe_rules(desired.tables, host.classes),
                )
                for i, host in found.by_index.items()
            },
            hosts=found.by_index,
            names={i: known[i].name for i in found.by_index},
            interfaces={i: known[i] for i in found.by_index},
            reports=tuple(reports),
        )
