"""A real control plane on a loopback port, and the command line run against it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CAUSEWAY = [sys.executable, "-m", "api.cli.main"]
ROOT = str(Path(__file__).parents[3])
"""What is tested is this checkout, whichever is installed."""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user of it."""
    folder = tmp_path_factory.mktemp("server")
    words = [*CAUSEWAY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"https://\S+", line)
            assert found, line
            files = {
                "CAUSEWAY_TOKEN_FILE": str(folder / "admin.token"),
                "CAUSEWAY_CA_FILE": str(folder / "ca.pem"),
            }
            yield {"CAUSEWAY_SERVER": found.group(), **files}
        finally:
            process.terminate()
            assert process.wait(20) == 0


@pytest.fixture
def causeway(tmp_path: Path) -> Run:
    """Run the command line; its environment is only what the test gives."""

    def run(*words: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "200", "PYTHONPATH": ROOT, **environment
        }  # fmt: skip
        return subprocess.run(
            [*CAUSEWAY, *words], input=stdin, capture_output=True, text=True, check=False, env=clean, cwd=tmp_path, timeout=60
        )  # fmt: skip

    return run
