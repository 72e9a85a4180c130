"""The examples that users apply as they stand give the verdicts that their comments promise."""

from itertools import permutations, product
from pathlib import Path

import yaml

from federation.policy.evaluate import evaluate
from federation.policy.parties import Probe
from federation.policy.tables import Verdict
from federation.policy.world import world_of
from federation.resources.codec import decode
from federation.resources.metadata import AnyResource

EXAMPLE = Path(__file__).parents[3] / "examples" / "pci-isolation.yaml"


def workloads() -> list[AnyResource]:
    kinds = product(
        (("dc1", 10), ("aws1", 20), ("edge9", 30)),
        ("web", "api", "db", "batch"),
        ("true", "false"),
        ("shop", "pay"),
    )
    return [
        decode(
            {
                "apiVersion": "causeway.dev/v1", "kind": "Endpoint",
                "metadata": {"name": f"w{n}", "cluster": cluster, "namespace": namespace, "labels": {"app": app, "pci": pci}},
                "spec": {"node": "n", "addresses": [f"10.{second}.0.{n + 1}"]},
            }
        )
        for n, ((cluster, second), app, pci, namespace) in enumerate(kinds)
    ]  # fmt: skip


def is_wanted(source: AnyResource, destination: AnyResource, protocol: str, port: int) -> bool:
    sender, receiver = source.metadata, destination.metadata
    if sender.labels["app"] == "batch" and sender.cluster != receiver.cluster:
        return False
    if receiver.labels["pci"] != "true":
        return True
    is_trusted = sender.labels["pci"] == "true" or sender.labels["app"] == "api"
    return is_trusted and (protocol, port) == ("TCP", 8080)


def test_pci_isolation_gives_every_pair_the_verdict_that_it_promises() -> None:
    policies = [decode(document) for document in yaml.safe_load_all(EXAMPLE.read_text())]
    endpoints = workloads()
    world = world_of([*policies, *endpoints])
    for (source, destination), (protocol, port) in product(
        permutations(endpoints, 2), (("TCP", 8080), ("TCP", 22), ("UDP", 8080))
    ):
        probe = Probe(
            source=source.key, destination=destination.key, protocol=protocol, destination_port=port
        )
        verdict = evaluate(world, probe).verdict
        assert (verdict is Verdict.ALLOW) is is_wanted(source, destination, protocol, port), probe
