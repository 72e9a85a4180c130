"""A node with three pods as its agent knows it: documents, the state on disk, the driver, and the command line asked about it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federation.policy.parties import labels_of
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from nodeagent.control import cache
from nodeagent.control.replica import State, key_of
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.observe.naming import NameKeeper
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.desired import Decider
from nodeagent.drivers import Desired

NOWHERE_ELSE: dict[int, str] = {}
APPS = {1: "web", 2: "api", 3: "db"}
ME = ObjectKey("Node", "dc1", "", "n1")
DB_FROM_API = {
    "selector": "app == 'db'", "ingress": [
        {"action": "Deny", "protocol": "UDP"},
        {"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'api'"}, "destination": {"ports": [8080]}},
    ],
}  # fmt: skip


def document(kind: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {k: more.pop(k) for k in ("cluster", "namespace", "labels") if k in more}
    return {
        "apiVersion": "causeway.dev/v1",
        "kind": kind,
        "metadata": {"name": name, **meta},
        "spec": spec,
        **more,
    }


def endpoint(node: Any, number: int, app: str, interface: str) -> dict[str, Any]:
    spec = {"node": "n1", "addresses": [str(each) for each in node.addresses(number)], "interface": interface}
    names = {"cluster": "dc1", "namespace": "shop", "labels": {"app": app}}
    return document("Endpoint", app, spec, status={"identity": 256 + number}, **names)


def state_of(
    node: Any, *policies: dict[str, Any], revision: int = 1, interfaces: Mapping[int, str] = NOWHERE_ELSE
) -> State:
    endpoints = [
        endpoint(node, number, app, interfaces.get(number, f"pod{number}")) for number, app in APPS.items()
    ]
    identities = [
        document("Identity", str(256 + n), {"number": 256 + n, "labels": labels_of(decode(one))})
        for n, one in zip(APPS, endpoints, strict=True)
    ]
    own = document("Node", "n1", {"addresses": ["169.254.1.1"]}, cluster="dc1")
    made = [
        document("GlobalNetworkPolicy", f"p{n}", {"types": ["Ingress"], **spec})
        for n, spec in enumerate(policies)
    ]
    return State(revision=revision, documents={key_of(d): d for d in (*endpoints, *identities, own, *made)})


class World:
    """The agent's stages one by one, as a test wants them."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.state_dir: Path = node.state_dir
        self.driver = EbpfDriver(node.pin_dir, self.state_dir)
        self.noted = NotedDriver(self.driver)
        self.keeper = NameKeeper(self.noted, self.state_dir, self.driver.generation)
        self.decider = Decider(ME)
        (self.state_dir / "credential").touch(0o600)
        (self.state_dir / "credential").write_text("id.secret\n")
        facts = {"server": "http://127.0.0.1:9", "cluster": "dc1", "node": "n1", "pin_dir": str(node.pin_dir)}
        (self.state_dir / "agent.toml").write_text(
            "".join(f"{k} = {json.dumps(v)}\n" for k, v in facts.items())
        )

    def enforce(
        self, *policies: dict[str, Any], revision: int = 1, interfaces: Mapping[int, str] = NOWHERE_ELSE
    ) -> Desired:
        state = state_of(self.node, *policies, revision=revision, interfaces=interfaces)
        cache.save(self.state_dir / "cache.json", state)
        wanted = self.decider.decide(state)
        with self.node.entered():
            assert self.noted.converge(wanted.policy) == ()
            self.keeper.keep()
        return wanted

    def ask(self, *words: str, code: int = 0) -> str:
        """`causeway agent …` as an operator types it, outside of the node's namespace."""
        command = [sys.executable, "-m", "api.cli.main", "agent", *words, "--state-dir", str(self.state_dir)]
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.state_dir), "COLUMNS": "220"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code in (0, 1) else done.stderr

    def told(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.ask(*words, "-o", "json", code=code))
