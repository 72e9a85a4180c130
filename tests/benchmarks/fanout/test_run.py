"""The measurement itself works: few agents, one change, one replica and two."""

import pytest

from benchmarks.fanout.run import measured, rows_of


@pytest.mark.postgresql
@pytest.mark.parametrize("replicas", [1, 2])
def test_every_agent_hears_the_change(replicas: int) -> None:
    found = measured(20, replicas=replicas, changes=1, idle_seconds=0.5)
    assert found.losses == 0
    assert 0 < found.latencies["p50"] <= found.latencies["last"]
    assert found.bytes > 0
    assert found.memory > 0
    assert len(list(rows_of([found]))) == 9
