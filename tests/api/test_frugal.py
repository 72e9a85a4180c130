"""The agent's process is kept small: it takes no library that it does not need, and works without them."""

import subprocess
import sys
from pathlib import Path

import pytest

from api import frugal

ROOT = Path(__file__).parents[2]


def said_by(script: str) -> list[str]:
    """Words that a process of its own prints, after what the agent's begins with."""
    begun = f"import sys; from api import frugal; frugal.begin(); {script}"
    words = [sys.executable, "-W", "error", "-c", begun]
    return subprocess.run(words, check=True, cwd=ROOT, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize(
    "unwanted",
    [
        "bcc", "typer", "click", "rich", "pygments", "fastapi", "sqlalchemy", "uvicorn", "controlplane", "cryptography", "prometheus_client",
        "pyroute2.ndb", "pyroute2.ipdb", "api.cli", "api.lab",
    ],
)  # fmt: skip
def test_the_agent_does_not_load_what_it_does_not_need(unwanted: str) -> None:
    loaded = said_by("import api.agent; print(*(name for name, module in sys.modules.items() if module))")
    assert "nodeagent.agent" in loaded
    assert not [name for name in loaded if f"{name}.".startswith(f"{unwanted}.")]


def test_netlink_works_and_what_is_not_listed_is_missing_at_once() -> None:
    script = "from pyroute2 import IPRoute, WireGuard; n = IPRoute(); print(*(link['index'] for link in n.get_links())); n.close()"
    assert "1" in said_by(script)
    assert said_by("import pyroute2; print(hasattr(pyroute2, 'NDB'))") == ["False"]


def test_memory_is_given_back_again_and_again() -> None:
    assert frugal.trim() == frugal.TRIM_SECONDS
