"""A lab's federation: control plane, clusters, nodes that joined, endpoints; and its reachability, measured and predicted."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from api.cli.client import Client
from api.lab import build
from api.lab.topology import CONTROL_ADDRESS, CONTROL_PORT, PORT, LabNode, Topology, Workload, topology
from federation.errors import CausewayError, DriverError, InvalidInput, NotFound
from federation.policy.evaluate import Engine
from federation.policy.parties import Probe
from federation.policy.tables import Verdict
from federation.policy.world import world_of
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey

KILL_AFTER = "CAUSEWAY_LAB_KILL_AFTER"
"""For tests: the number of the step after which the building process kills itself (-9)."""
Matrix = dict[tuple[str, str, str], bool]
"""(source path, destination path, TCP or UDP): reached."""


class Lab:
    """A running lab."""

    def __init__(self, lab: Topology, port: int = 0) -> None:
        self.topology = lab
        self.folder = build.LABS / lab.name
        self.port = port or _free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def client(self) -> Client:
        """Speaks as the administrator."""
        return Client(f"http://127.0.0.1:{self.port}", str(self.folder / "server" / "admin.token"))

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
            "api.cli.main", "join", "--server", f"http://{CONTROL_ADDRESS}:{CONTROL_PORT}", "--token-file", "-", "--cluster", node.cluster,
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

    def measured(self) -> Matrix:
        """Who reaches whom, by real connections."""
        running = []
        for source in self.topology.workloads:
            others = [w for w in self.topology.workloads if w is not source]
            targets = [(protocol, w.address, PORT) for w in others for protocol in ("TCP", "UDP")]
            words = build.python("api.lab.workload", "probe", json.dumps(targets))
            process = subprocess.Popen(build.inside(source.netns, *words), stdout=subprocess.PIPE, text=True)
            running.append((source, others, process))
        matrix: Matrix = {}
        for source, others, process in running:
            answers = iter(json.loads(process.communicate(timeout=30)[0]))
            for other in others:
                for protocol in ("TCP", "UDP"):
                    matrix[source.path, other.path, protocol] = next(answers)
        return matrix

    def predicted(self) -> Matrix:
        """What the pure engine says, over the resources as the control plane gives them."""
        plurals = (
            "endpoints",
            "identities",
            "tiers",
            "globalnetworkpolicies",
            "networkpolicies",
            "globalnetworksets",
            "links",
        )
        items = [i for plural in plurals for i in self.client.all(f"/api/v1/{plural}")]
        resources = [decode(item, is_trusted=True) for item in items]
        engine = Engine(world_of(resources))
        linked = {frozenset(r.spec.clusters) for r in resources if r.kind == "Link"}
        matrix: Matrix = {}
        for source in self.topology.workloads:
            for other in self.topology.workloads:
                if source is other:
                    continue
                has_path = (
                    source.cluster == other.cluster or frozenset({source.cluster, other.cluster}) in linked
                )
                for protocol in ("TCP", "UDP"):
                    probe = Probe(
                        source=_key(source), destination=_key(other), protocol=protocol, destination_port=PORT
                    )
                    is_allowed = engine.decide(probe).verdict is Verdict.ALLOW
                    matrix[source.path, other.path, protocol] = has_path and is_allowed
        return matrix

    def tell_endpoints(self) -> None:
        """Tell the control plane of every workload, and wait for the nodes."""
        applied = self.client.ask("POST", "/api/v1/apply", {"items": self.documents()})
        self.wait_enforced(applied["revision"])

    def is_alive(self, name: str) -> bool:
        """Whether the control plane ("server") or a node's agent runs."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state != "Z" and str(self.folder).encode() in build.command_line(pid)

    def wait_enforced(self, revision: int) -> dict[str, Any]:
        """Wait for every node; the rollout. Raises DriverError."""
        rollout: dict[str, Any] = self.client.ask("GET", f"/api/v1/rollouts/{revision}", wait=30)
        if not rollout["complete"]:
            raise DriverError(f"revision {revision} is not enforced: {rollout['behind']}")
        return rollout

    def _keep(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.processes[name] = process
        (self.folder / f"{name}.pid").write_text(str(process.pid))


def up(lab: Topology, on_step: Callable[[str], None] = lambda title: None) -> Lab:
    """Build all of it, linked to nothing; `on_step` hears of each step before it is taken. Raises; the caller tears down."""
    folder = build.LABS / lab.name
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise DriverError(
            f"lab {lab.name} stands already", hint=f"causeway lab down --name {lab.name}, or another --name"
        ) from None
    running = Lab(lab)
    remember(running)
    for number, (title, step) in enumerate(steps_of(running), start=1):
        on_step(title)
        step()
        if os.environ.get(KILL_AFTER) == str(number):
            os.kill(os.getpid(), signal.SIGKILL)
    return running


def steps_of(running: Lab) -> list[tuple[str, Callable[[], object]]]:
    """What building a lab comes to, in order. A death after any of them leaves nothing that `down` does not find."""
    lab = running.topology
    steps: list[tuple[str, Callable[[], object]]] = [
        ("network namespaces, interfaces, routes", lambda: build.build(lab)),
        ("workloads", lambda: build.start_workloads(lab)),
        ("control plane", running.start_control_plane),
        ("clusters", lambda: running.client.ask("POST", "/api/v1/apply", {"items": _clusters(lab)})),
    ]
    for node in lab.nodes:
        steps.append((f"{node.cluster}/{node.name} joins", partial(running.enrol, node)))
        steps.append((f"{node.cluster}/{node.name} starts its agent", partial(running.start_agent, node)))
    steps.append(("endpoints, until every node enforces them", running.tell_endpoints))
    return steps


def _clusters(lab: Topology) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "causeway.dev/v1",
            "kind": "Cluster",
            "metadata": {"name": name},
            "spec": {"prefixes": [prefix]},
        }
        for name, prefix in lab.prefixes.items()
    ]


def remember(running: Lab) -> None:
    """Write what `opened` needs to find the lab again."""
    facts = {"shape": running.topology.shape, "port": running.port}
    (running.folder / "lab.json").write_text(json.dumps(facts))


def opened(name: str) -> Lab:
    """A lab that stands; without a name, the only one. Raises NotFound or InvalidInput."""
    names = sorted(path.name for path in build.LABS.glob("*")) if build.LABS.exists() else []
    if not name and len(names) != 1:
        said = f"several labs stand: {', '.join(names)}" if names else "no lab stands"
        raise InvalidInput(said, hint="name one with --name" if names else "build one: causeway lab up")
    chosen = name or names[0]
    try:
        facts = json.loads((build.LABS / chosen / "lab.json").read_text())
        return Lab(topology(chosen, *facts["shape"]), facts["port"])
    except FileNotFoundError:
        raise NotFound(f"lab {chosen} does not stand", hint="causeway lab status") from None


def _key(workload: Workload) -> ObjectKey:
    return ObjectKey("Endpoint", workload.cluster, workload.namespace, workload.name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def must_be_root() -> None:
    """Raises DriverError for anybody else."""
    if os.geteuid() != 0:
        raise DriverError("a lab needs root (network namespaces, eBPF)", hint="run as root")
