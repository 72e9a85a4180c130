"""A real `causeway serve` with TLS as a process of its own, and a node that has joined it: what is sent to it is the test's."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from nodeagent.control import csr, identity

ROOT = Path(__file__).parents[2]
WHO: dict[str, Any] = {"cluster": "dc1", "node": "n1", "addresses": ["192.0.2.1"], "podPrefixes": ["10.10.1.0/24"]}  # fmt: skip


@dataclass
class Served:
    """What stands."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path
    state: Path

    @property
    def token(self) -> str:
        return (self.folder / "admin.token").read_text().strip()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def client(self, *, shows: bool = True, **options: Any) -> httpx.Client:
        """Of the node; one that `shows` no certificate is of anybody."""
        context = identity.context(self.state if shows else self.folder, shows=shows)
        return httpx.Client(base_url=self.url, verify=context, timeout=20, **options)

    def user(self) -> httpx.Client:
        return self.client(shows=False, headers={"Authorization": f"Bearer {self.token}"})

    def connect(self, *, shows: bool = True) -> ssl.SSLSocket:
        """A connection that says what the test writes."""
        context = identity.context(self.state if shows else self.folder, shows=shows)
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), 20), server_hostname="127.0.0.1"
        )

    def join_token(self) -> str:
        with self.user() as user:
            found: str = user.post("/api/v1/jointokens", json={"cluster": "dc1"}).json()["token"]
        return found


@contextmanager
def served(folder: Path, *words: str) -> Iterator[Served]:
    """Until the end of the block."""
    command = [sys.executable, "-m", "api.cli.main", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder), *words]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    try:
        found = Served(process, _url(process, folder), folder, folder / "node")
        _join(found)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _url(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    while not (said := re.search(r"control plane: (https://\S+) .*\n", (folder / "log").read_text())):
        assert process.poll() is None, (folder / "log").read_text()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return said.group(1)


def _join(found: Served) -> None:
    found.state.mkdir()
    asked = csr.request()
    cluster = {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.10.0.0/16"]}}  # fmt: skip
    with found.user() as user:
        assert user.post("/api/v1/apply", json={"items": [cluster]}).status_code == 200
        answer = user.post("/agent/v1/join", json={**WHO, "token": found.join_token(), "csr": asked.csr})
    assert answer.status_code == 201, answer.text
    identity.save(found.state, asked.key, json.loads(answer.content))
