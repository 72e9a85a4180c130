"""Where nothing can be read there is a gap, and a place that is taken is said."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.errors import InvalidInput
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.dataplane.ebpf.observe.metrics import AgentMetrics, serve
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.ebpf.observe.totals import RuleTotals
from nodeagent.dataplane.fake import FakeDriver
from nodeagent.settings import AgentSettings
from nodeagent.status import AgentStatus, write_status


@pytest.fixture
async def metrics(tmp_path: Path) -> AgentMetrics:
    noted = NotedDriver(FakeDriver())
    settings = AgentSettings(server="http://c", cluster="dc1", node="n1", state_dir=tmp_path)
    jobs = (noted, RuleTotals(noted, tmp_path, tmp_path), FlowReader(noted, settings, tmp_path))
    return AgentMetrics(tmp_path / "pins", tmp_path, jobs)


async def test_an_agent_whose_programs_are_away_tells_the_rest(metrics: AgentMetrics, tmp_path: Path) -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    status = AgentStatus(
        pid=os.getpid(), cluster="dc1", node="n1", started=started, revision_wanted=8, revision_enforced=7
    )
    write_status(tmp_path, status)
    found = {family.name: [sample.value for sample in family.samples] for family in metrics.collect()}
    assert (found["causeway_revision_wanted"], found["causeway_revision_enforced"]) == ([8], [7])
    assert (found["causeway_connected"], found["causeway_faults"], found["causeway_policy_rounds"]) == (
        [0],
        [0],
        [0],
    )
    assert "causeway_packets" not in found
    assert found["causeway_map_entries"] == []


async def test_a_place_that_is_taken_is_named(metrics: AgentMetrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=f"metrics cannot listen on {place}") as caught:
            serve(metrics, place)
    assert "--metrics" in caught.value.hint
