"""A small world of three namespaces, and how tests ask it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.simulation.probes import Judge
from federation.simulation.reading import read

WORLD = """
{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {ns: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: y, labels: {ns: y, tenant: blue}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: y, labels: {kind: machine}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: a}}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {zone: b}}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
"""


def pod(namespace: str, name: str, address: str, node: str = "n1", **spec: Any) -> dict[str, Any]:
    ports = [
        {"name": "http", "containerPort": 80},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
    ]
    labels = {"pod": name, **spec.pop("labels", {})}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": ports}], **spec},
        "status": {"podIPs": [{"ip": address}, {"ip": "fd00::" + ":".join(address.split(".")[2:])}]},
    }  # fmt: skip


PODS = [
    pod("x", "a", "10.0.0.1"), pod("x", "b", "10.0.0.2", "n2"), pod("y", "a", "10.0.1.1", serviceAccountName="robot"),
    pod("y", "b", "10.0.1.2", "n2"), pod("y", "h", "192.168.0.2", "n2", hostNetwork=True),
]  # fmt: skip

Ask = Callable[..., str]


def judged(*texts: str) -> Judge:
    documents = [d for text in (WORLD, *texts) for d in yaml.safe_load_all(text)]
    return Judge(read((f"document {n}", d) for n, d in enumerate([*PODS, *documents])))


@pytest.fixture
def ask() -> Callable[[str], Ask]:
    """ask(policies)("x/a", "y/a", 80) is "Allow" or "Deny"."""

    def of(*texts: str) -> Ask:
        judge = judged(*texts)

        def one(source: str, to: str, port: int | str | None = 80, protocol: str = "TCP", **more: Any) -> str:
            probe = {"from": source, "to": to, "protocol": protocol, **more}
            answer = judge.answer(probe if port is None else {**probe, "port": port})
            assert answer["verdict"] in ("Allow", "Deny")
            return str(answer["verdict"])

        return one

    return of


@pytest.fixture(scope="session")
def judge_of() -> Callable[..., Judge]:
    """judge_of(policies) answers probes."""
    return judged


@pytest.fixture(scope="session")
def world_documents() -> list[dict[str, Any]]:
    """The documents of the small world, with a service in it."""
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "y"},
        "spec": {"selector": {"pod": "a"}, "ports": [{"port": 80}]},
    }  # fmt: skip
    return [*PODS, *yaml.safe_load_all(WORLD), service]
