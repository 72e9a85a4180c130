"""What an agent tells Prometheus: what its programs did, how full their maps are, how far it has come itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from federation.errors import CausewayError, InvalidInput
from nodeagent.dataplane.ebpf.inspect.fill import Fill, fills
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.observe.counters import reasons
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.ebpf.observe.totals import RuleTotals
from nodeagent.status import read_status

FILL_SECONDS = 15.0
"""How old the fill of maps may be: to count a map is to read it."""


class AgentMetrics(Collector):
    """Asked at each scrape, in the server's thread. What cannot be read is left out: a gap says more than an old number."""

    def __init__(
        self,
        generation: Path,
        state_dir: Path,
        jobs: tuple[NotedDriver, RuleTotals, FlowReader],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generation = generation
        self._state_dir = state_dir
        self._driver, self._totals, self._flows = jobs
        self._monotonic = monotonic
        self._fills: tuple[Fill, ...] = ()
        self._filled_at = -FILL_SECONDS

    def describe(self) -> Iterator[Metric]:
        """Nothing is read before the first scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families."""
        for part in (self._packets, self._rules, self._maps, self._jobs, self._agent):
            try:
                yield from part()
            except (CausewayError, OSError):
                continue

    def _packets(self) -> Iterator[Metric]:
        with Pins(self._generation) as pins:
            found = reasons(pins)
        family = CounterMetricFamily(
            "causeway_packets", "Packets of endpoints by what became of them", labels=["reason"]
        )
        for reason, count in found.items():
            if reason != "event lost":
                family.add_metric([reason.lower().replace(" ", "_").replace("-", "_")], count)
        yield family
        lost = found["event lost"]
        yield CounterMetricFamily(
            "causeway_flow_events_lost", "Events that the ring had no room for", value=lost
        )

    def _rules(self) -> Iterator[Metric]:
        labels = ["tier", "kind", "policy", "section", "rule"]
        packets = CounterMetricFamily("causeway_rule_packets", "Packets that a rule decided", labels=labels)
        size = CounterMetricFamily("causeway_rule_bytes", "Bytes of them", labels=labels)
        for rule, count in self._totals.totals.items():
            kind, path = (rule.policy.kind, rule.policy.path) if rule.policy else ("", "")
            place = "end" if rule.index is None else str(rule.index)
            for family, value in ((packets, count[0]), (size, count[1])):
                family.add_metric([rule.tier, kind, path, rule.section, place], value)
        yield packets
        yield size

    def _maps(self) -> Iterator[Metric]:
        if self._monotonic() - self._filled_at >= FILL_SECONDS:
            with Pins(self._generation) as pins:
                self._fills = fills(pins)
            self._filled_at = self._monotonic()
        for name, field, said in (
            ("entries", "entries", "Entries in use (a ring: bytes not read yet)"),
            ("capacity", "capacity", "Entries at most"),
            ("memory_bytes", "memory", "Kernel memory"),
        ):
            family = GaugeMetricFamily(f"causeway_map_{name}", said, labels=["map"])
            for fill in self._fills:
                family.add_metric([fill.name], getattr(fill, field))
            yield family

    def _jobs(self) -> Iterator[Metric]:
        rounds = self._driver.turn // 2
        yield CounterMetricFamily(
            "causeway_policy_rounds", "Times that policy was written or looked after", value=rounds
        )
        yield CounterMetricFamily("causeway_flow_events", "Events that were read", value=self._flows.read)

    def _agent(self) -> Iterator[Metric]:
        status = read_status(self._state_dir)
        for name, said, value in (
            ("causeway_revision_wanted", "Newest revision that the control plane told", status.revision_wanted),
            ("causeway_revision_enforced", "Revision of the last finished round, as reported", status.revision_enforced),
            ("causeway_faults", "What is wrong now", len(status.faults)),
            ("causeway_connected", "1 while the control plane is there", status.connected_since is not None),
        ):  # fmt: skip
            yield GaugeMetricFamily(name, said, value=value)


def serve(collector: AgentMetrics, listen: str) -> Callable[[], None]:
    """Answer scrapes at ADDRESS:PORT, in a thread of its own; what is returned ends it. Raises InvalidInput when the place is taken."""
    registry = CollectorRegistry()
    registry.register(collector)
    address, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), address.strip("[]"), registry)
    except OSError as error:
        raise InvalidInput(
            f"metrics cannot listen on {listen}: {error.strerror or error}",
            hint="choose another with --metrics",
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
