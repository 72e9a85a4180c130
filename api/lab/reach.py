"""Who reaches whom in a lab: measured by real connections, predicted by the pure engine, and the two held against each other."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations

from api.lab import build
from api.lab.federation import Lab
from api.lab.topology import PORT, Workload
from federation.errors import DriverError
from federation.kinds.registry import KINDS
from federation.policy.evaluate import Engine
from federation.policy.hosts import governed
from federation.policy.parties import Probe
from federation.policy.tables import Verdict
from federation.policy.world import world_of
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey

Cell = tuple[str, str, str]
"""(source path, destination path, TCP or UDP)."""
Matrix = dict[Cell, bool]
"""Whether it is reached."""
PROTOCOLS = ("TCP", "UDP")
AT_ONCE = 12
"""Workloads that connect at a time: each asks all others at once, and more would measure the machine's load."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both matrices of one moment; they have the same cells."""

    measured: Matrix
    predicted: Matrix

    @property
    def wrong(self) -> list[Cell]:
        """The cells that differ, in order."""
        return sorted(cell for cell in self.measured if self.measured[cell] != self.predicted[cell])

    @property
    def cells(self) -> list[dict[str, str | bool]]:
        """Every cell as a document, in order."""
        return [
            {"from": source, "to": other, "protocol": protocol, "reached": self.measured[cell], "predicted": self.predicted[cell]}
            for cell in sorted(self.measured)
            for source, other, protocol in [cell]
        ]  # fmt: skip

    @property
    def summary(self) -> str:
        """One line."""
        total = len(self.measured)
        return f"{total - len(self.wrong)} of {total} cells as the policy engine predicts"


def compared(lab: Lab, on_progress: Callable[[], None] = lambda: None) -> Comparison:
    """Measure and predict; `on_progress` is called once for each workload that has asked all others."""
    predicted = predict(lab)
    return Comparison(measure(lab, on_progress), predicted)


def measure(lab: Lab, on_progress: Callable[[], None] = lambda: None) -> Matrix:
    """By real connections. Raises DriverError when a workload cannot ask."""
    workloads = lab.topology.workloads
    if len(workloads) < 2:
        return {}
    matrix: Matrix = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for answers in pool.map(lambda source: _asked(source, workloads), workloads):
            matrix.update(answers)
            on_progress()
    return matrix


def _asked(source: Workload, workloads: tuple[Workload, ...]) -> Matrix:
    cells = [(other, protocol) for other in workloads if other is not source for protocol in PROTOCOLS]
    targets = json.dumps([(protocol, other.address, PORT) for other, protocol in cells])
    words = build.inside(source.netns, *build.python("api.lab.workload", "probe", "-"))
    done = subprocess.run(words, input=targets, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DriverError(
            f"{source.path} could not ask: {done.stderr.strip()}", hint="see: causeway lab status"
        )
    reached = json.loads(done.stdout)
    return {
        (source.path, other.path, protocol): is_reached
        for (other, protocol), is_reached in zip(cells, reached, strict=True)
    }


def predict(lab: Lab) -> Matrix:
    """What the pure engine says, over the resources as the control plane gives them."""
    client = lab.client
    resources = [
        decode(item, is_trusted=True)
        for kind in KINDS
        for item in client.ask("GET", f"/api/v1/{kind.plural}", limit=5000)["items"]
    ]
    engine = Engine(governed(world_of(resources), resources))
    linked = {frozenset(r.spec.clusters) for r in resources if r.kind == "Link"}
    return {
        cell: has_path and engine.decide(probe).verdict is Verdict.ALLOW
        for cell, has_path, probe in _questions(lab, linked)
    }


def _questions(lab: Lab, linked: set[frozenset[str]]) -> Iterator[tuple[Cell, bool, Probe]]:
    for source, other in permutations(lab.topology.workloads, 2):
        has_path = source.cluster == other.cluster or frozenset({source.cluster, other.cluster}) in linked
        for protocol in PROTOCOLS:
            probe = Probe(
                source=_key(source), destination=_key(other), protocol=protocol, destination_port=PORT
            )
            yield (source.path, other.path, protocol), has_path, probe


def _key(workload: Workload) -> ObjectKey:
    return ObjectKey("Endpoint", workload.cluster, workload.namespace, workload.name)
