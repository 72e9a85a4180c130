"""A lab's federation: control plane, clusters, nodes that joined, endpoints; the steps of building it, and finding it again."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from api.cli.client import Client
from api.lab import build
from api.lab.topology import CONTROL_ADDRESS, CONTROL_PORT, LabNode, Topology, must_be_name, topology
from federation.errors import CausewayError, DriverError, InvalidInput, NotFound


class Lab:
    """A running lab."""

    def __init__(self, lab: Topology, port: int = 0) -> None:
        self.topology = lab
        self.folder = build.LABS / lab.name
        self.port = port or _free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The control plane's, on this machine's loopback."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def token_file(self) -> Path:
        """The administrator's."""
        return self.folder / "server" / "admin.token"

    @property
    def ca_file(self) -> Path:
        """What the control plane's certificate comes from."""
        return self.folder / "server" / "ca.pem"

    @property
    def environment(self) -> str:
        """What makes `causeway` speak to this lab, to be pasted before a command."""
        return f"CAUSEWAY_SERVER={self.url} CAUSEWAY_CA_FILE={self.ca_file} CAUSEWAY_TOKEN_FILE={self.token_file}"

    @cached_property
    def client(self) -> Client:
        """Speaks as the administrator; one, for each keeps connections open."""
        return Client(self.url, str(self.token_file), ca_file=str(self.ca_file))

    @property
    def ca_hash(self) -> str:
        """What a node is given to know the control plane by."""
        return str(self.client.ask("GET", "/api/v1/ca")["hashes"][0])

    def start_control_plane(self) -> None:
        """Start it, and wait until it is ready."""
        self._keep("server", build.start_control_plane(self.topology, self.port))
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client.ask("GET", "/readyz")
                return
            except CausewayError as error:
                if time.monotonic() > deadline or self.processes["server"].poll() is not None:
                    raise DriverError(
                        f"the control plane did not start: {error}", hint=f"see {self.folder}/server.log"
                    ) from error
            time.sleep(0.1)  # noqa: TID251 - the lab is a foreground tool

    def enrol(self, node: LabNode) -> None:
        """`causeway join` in the node's namespace."""
        token = self.client.ask("POST", "/api/v1/jointokens", {"cluster": node.cluster})["token"]
        state = self.state_dir(node)
        words = build.python(
            "api.cli.main", "join", "--server", f"https://{CONTROL_ADDRESS}:{CONTROL_PORT}", "--ca-cert-hash", self.ca_hash, "--token-file", "-", "--cluster", node.cluster,
            "--node", node.name, "--address", node.address, "--pod-prefix", node.prefix, "--state-dir", str(state),
        )  # fmt: skip
        done = subprocess.run(
            build.inside(node.netns, *words), input=token, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DriverError(f"joining {node.cluster}/{node.name} failed: {done.stderr}")
        pins = build.PINS / self.topology.name / f"{node.cluster}-{node.name}"
        with (state / "agent.toml").open("a") as file:
            file.write(f'pin_dir = "{pins}"\ninterface = "{node.tunnel}"\n')

    def start_agent(self, node: LabNode) -> None:
        """`causeway agent` in the node's namespace."""
        words = build.python("api.cli.main", "agent", "--state-dir", str(self.state_dir(node)))
        log = self.state_dir(node) / "agent.log"
        self._keep(node.netns, build.start(build.inside(node.netns, *words), log))

    def kill(self, name: str) -> None:
        """kill -9 of the control plane ("server") or of a node's agent (its namespace's name)."""
        self.processes[name].kill()
        self.processes[name].wait()

    def state_dir(self, node: LabNode) -> Path:
        """The agent's state directory."""
        return self.folder / node.netns

    def documents(self) -> list[dict[str, Any]]:
        """The endpoints, as the cluster's CNI would tell them."""
        return [
            {
                "apiVersion": "causeway.dev/v1",
                "kind": "Endpoint",
                "metadata": {
                    "name": w.name,
                    "cluster": w.cluster,
                    "namespace": w.namespace,
                    "labels": w.labels,
                },
                "spec": {
                    "node": w.node,
                    "addresses": [w.address],
                    "interface": w.interface,
                    "serviceAccount": w.name,
                },
            }
            for w in self.topology.workloads
        ]

    def tell_clusters(self) -> None:
        """Tell the control plane of the clusters and their prefixes."""
        documents = [
            {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": {"prefixes": [prefix]}}
            for name, prefix in self.topology.prefixes.items()
        ]  # fmt: skip
        self.client.ask("POST", "/api/v1/apply", {"items": documents})

    def tell_endpoints(self) -> None:
        """Tell the control plane of every workload, and wait for the nodes."""
        if documents := self.documents():
            self.wait_enforced(self.client.ask("POST", "/api/v1/apply", {"items": documents})["revision"])

    def is_alive(self, name: str) -> bool:
        """Whether the control plane ("server") or a node's agent (its namespace's name) runs."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state != "Z" and str(self.folder).encode() in build.command_line(pid)

    def wait_enforced(self, revision: int) -> None:
        """Wait for every node. Raises DriverError."""
        seconds = 20 + 2 * len(self.topology.nodes)
        rollout = self.client.ask("GET", f"/api/v1/rollouts/{revision}", wait=seconds)
        if not rollout["complete"]:
            behind = "; ".join(f"{entry['node']}: {entry['why']}" for entry in rollout["behind"])
            hint = f"see the agents' logs: {self.folder}/*/agent.log"
            raise DriverError(f"revision {revision} is not enforced after {seconds} s: {behind}", hint=hint)

    def _keep(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.processes[name] = process
        (self.folder / f"{name}.pid").write_text(str(process.pid))


def claim(lab: Topology) -> Lab:
    """Take the name and write down what `opened` needs. Raises DriverError when the name is taken; nothing is to be removed then."""
    if lab.name in build.names():
        hint = f"causeway lab down --name {lab.name}, or another --name"
        raise DriverError(f"lab {lab.name} stands already", hint=hint)
    claimed = Lab(lab)
    with build.undisturbed():
        claimed.folder.mkdir(parents=True, mode=0o700)  # fails for the later of two at the same moment
        facts = {"shape": lab.shape, "port": claimed.port}
        (claimed.folder / "lab.json").write_text(json.dumps(facts))
    return claimed


def up(lab: Topology) -> Lab:
    """Build all of it, linked to nothing. Raises; the caller tears down."""
    claimed = claim(lab)
    for step in steps_of(claimed):
        step.take()
    return claimed


@dataclass(frozen=True, slots=True)
class Step:
    """One step of building a lab."""

    title: str
    take: Callable[[], object]


def steps_of(lab: Lab) -> tuple[Step, ...]:
    """What building a lab comes to, in order. A death in any of them, or after it, leaves nothing that `down` does not find."""
    wanted = lab.topology
    return (
        Step("namespaces, interfaces, routes", lambda: build.build(wanted)),
        Step("workloads", lambda: build.start_workloads(wanted)),
        Step("control plane", lab.start_control_plane),
        Step("clusters", lab.tell_clusters),
        *(
            step
            for node in wanted.nodes
            for step in (
                Step(f"{node.cluster}/{node.name} joins", partial(lab.enrol, node)),
                Step(f"{node.cluster}/{node.name} starts its agent", partial(lab.start_agent, node)),
            )
        ),
        Step("endpoints, until every node enforces them", lab.tell_endpoints),
    )


def only_one(name: str) -> str:
    """That lab's name; without one, the only lab's that stands. Raises InvalidInput or NotFound."""
    names = build.names()
    if name:
        must_be_name(name)
        if name not in names:
            raise NotFound(f"lab {name} does not stand", hint="see: causeway lab status")
        return name
    if not names:
        raise NotFound("no lab stands", hint="build one: causeway lab up")
    if len(names) > 1:
        raise InvalidInput(f"several labs stand: {', '.join(names)}", hint="name one with --name")
    return names[0]


def opened(name: str) -> Lab:
    """A lab that stands, built by whatever process; without a name, the only one. Raises InvalidInput or NotFound."""
    chosen = only_one(name)
    try:
        facts = json.loads((build.LABS / chosen / "lab.json").read_text())
        return Lab(topology(chosen, *facts["shape"]), facts["port"])
    except (OSError, ValueError) as error:
        hint = f"remove it: causeway lab down --name {chosen}"
        raise NotFound(f"of lab {chosen} only remains stand", hint=hint) from error


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def must_be_root() -> None:
    """Raises DriverError for anybody else."""
    if os.geteuid() != 0:
        raise DriverError("a lab needs root (network namespaces, eBPF)", hint="run as root")
