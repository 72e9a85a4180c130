"""The agent's process says a mistake as the command line does."""

import subprocess
from pathlib import Path

from api import node_process

ROOT = Path(__file__).parents[2]


def test_a_node_that_has_not_joined_is_one_clear_message_and_an_exit_code(tmp_path: Path) -> None:
    words = node_process.command(tmp_path, "")
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "has not joined" in done.stderr
    assert "Traceback" not in done.stderr
