"""A replica goes by its database's clock, also when its machine's is wrong, or is set while it runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controlplane.clock import SystemClock
from tests.controlplane.faketime import MachineClock

ROOT = Path(__file__).parents[2]
REPLICA = """
import asyncio, json, sys
from datetime import UTC, datetime
from pathlib import Path
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import RequestKey
from controlplane.service import ControlPlane, Settings
from tests.controlplane.faketime import MachineClock
from tests.controlplane.store.upkeep.conftest import tier

async def main(url, machine):
    said = []
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        for words in ("+3d", "-3d", "+0"):
            machine.set(words)
            await plane.feed.catch_up()
            applied = await plane.change([tier("a", 7)], actor=inside("ann"), request=RequestKey("k", "digest"))
            await plane.duties.round()
            said.append([datetime.now(UTC).isoformat(), plane.clock.now().isoformat(), applied.revision])
    print(json.dumps(said))

asyncio.run(main(sys.argv[1], MachineClock(Path(sys.argv[2]))))
"""


@pytest.mark.postgresql
def test_a_replica_goes_by_the_databases_clock(new_database: Callable[[str], str], tmp_path: Path) -> None:
    """Also its duties, which would forget idempotency keys of a day ago: a request that is sent again is not done again."""
    machine = MachineClock(tmp_path / "clock")
    machine.set("+3d")
    words = [sys.executable, "-c", REPLICA, new_database("postgresql"), str(machine.file)]
    done = subprocess.run(
        words, env={**os.environ, **machine.environment}, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    now, revisions = SystemClock().now(), set()
    said = json.loads(done.stdout.splitlines()[-1])
    for (machines, ours, revision), days in zip(said, (3, -3, 0), strict=True):
        assert abs(datetime.fromisoformat(machines) - now - timedelta(days=days)) < timedelta(minutes=2)
        assert abs(datetime.fromisoformat(ours) - now) < timedelta(minutes=2)
        revisions.add(revision)
    assert len(revisions) == 1, "done again"
    assert "this machine's clock is not the database's" in done.stderr + done.stdout


def test_a_clock_that_is_told_nothing_is_the_machines() -> None:
    clock = SystemClock()
    before = clock.now()
    told = before + timedelta(days=400)
    clock.hear(told)
    assert told <= clock.now() < told + timedelta(minutes=2)
    assert before <= SystemClock().now() < before + timedelta(minutes=2)
