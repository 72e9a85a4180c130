"""Worlds to compile: the shared inputs where they are, else made-up ones of the same shape."""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from federation.doors import cilium
from federation.doors.cilium_documents import CiliumSpec
from federation.identities import IdentityNumber, security_labels
from federation.kinds.endpoint import Endpoint, EndpointSpec, EndpointStatus
from federation.policy.world import World
from federation.resources.codec import structured
from federation.resources.metadata import Metadata, ObjectKey, Resource

FOLDER = Path(
    os.environ.get("CAUSEWAY_BENCH_WORLDS", Path(__file__).resolve().parents[3] / "shared" / "bench")
)
NAMESPACE, CLUSTER = "k8s:io.kubernetes.pod.namespace", "k8s:io.cilium.k8s.policy.cluster"
ACCOUNT, INHERITED = "k8s:io.cilium.k8s.policy.serviceaccount", "k8s:io.cilium.k8s.namespace.labels."


@dataclass(frozen=True, slots=True)
class Input:
    """A world of Cilium's policies, and which of its endpoints are local."""

    source: str
    world: World
    local: tuple[ObjectKey, ...]
    policies: int
    content: Mapping[str, Any]
    """As it was read."""


def given(identities: int, policies: int) -> Input:
    """The shared input of that size, or one of its shape."""
    path = FOLDER / f"policy_bench_{identities}ids_{policies}policies.json"
    if path.exists():
        return _input("shared", json.loads(path.read_text()))
    return made(identities, policies)


def made(identities: int, policies: int) -> Input:
    """A made-up input; the same for the same sizes."""
    rng = random.Random(identities * 7 + policies)
    apps, spaces = max(identities // 20, 5), max(identities // 40, 5)
    listed = []
    for number in range(identities):
        space = rng.randrange(spaces)
        listed.append(
            {
                "name": f"id{number:05}",
                "labels": [
                    f"k8s:app=app{rng.randrange(apps)}", f"k8s:env={rng.choice(['dev', 'qa', 'prod'])}", f"{NAMESPACE}=ns{space}",
                    f"{INHERITED}team=t{space % 8}", f"{CLUSTER}={rng.choice(['c1', 'c2'])}", f"{ACCOUNT}=default",
                ],
            }
        )  # fmt: skip
    documents = [_policy(rng, number, apps, spaces) for number in range(policies)]
    return _input("made up", {"cluster": "c1", "identities": listed, "policies": documents})


def _policy(rng: random.Random, number: int, apps: int, spaces: int) -> dict[str, Any]:
    def peer() -> dict[str, Any]:
        labels = rng.choice(
            [
                {"env": rng.choice(["dev", "qa", "prod"])}, {"io.cilium.k8s.namespace.labels.team": f"t{rng.randrange(8)}"},
                {"app": f"app{rng.randrange(apps)}", "io.kubernetes.pod.namespace": f"ns{rng.randrange(spaces)}", "io.cilium.k8s.policy.cluster": "c2"},
            ]
        )  # fmt: skip
        ports = [
            {"port": str(rng.choice([80, 443, 5432, 8080])), "protocol": "TCP"}
            for _ in range(rng.randint(1, 2))
        ]
        return {"fromEndpoints": [{"matchLabels": labels}], "toPorts": [{"ports": ports}]}

    spec: dict[str, Any] = {
        "endpointSelector": {"matchLabels": {"app": f"app{rng.randrange(apps)}"}}
        if rng.random() < 0.6
        else {},
        "ingress": [peer() for _ in range(rng.randint(1, 3))],
    }
    if rng.random() < 0.4:
        spec["ingressDeny"] = [peer() for _ in range(rng.randint(1, 3))]
    meta = {"name": f"b{number:04}", "namespace": f"ns{rng.randrange(spaces)}"}
    return {"kind": "CiliumNetworkPolicy", "metadata": meta, "spec": spec}


def _input(source: str, content: Mapping[str, Any]) -> Input:
    identities: dict[IdentityNumber, Mapping[str, str]] = {}
    endpoints: dict[ObjectKey, Endpoint] = {}
    spaces: dict[tuple[str, str], Mapping[str, str]] = {}
    for number, each in enumerate(content["identities"]):
        pairs = dict(text.split("=", 1) for text in each["labels"])
        cluster, space, account = pairs.pop(CLUSTER), pairs.pop(NAMESPACE), pairs.pop(ACCOUNT, "")
        spaces[cluster, space] = {
            k.removeprefix(INHERITED): v for k, v in pairs.items() if k.startswith(INHERITED)
        }
        own = {k.removeprefix("k8s:"): v for k, v in pairs.items() if not k.startswith(INHERITED)}
        identities[IdentityNumber(256 + number)] = security_labels(cluster, space, account, own)
        endpoint: Endpoint = Resource(
            kind="Endpoint", metadata=Metadata(name=each["name"], cluster=cluster, namespace=space, labels=own),
            spec=EndpointSpec(node="n", addresses=(IPv4Address((10 << 24) + number),), service_account=account), status=EndpointStatus(),
        )  # fmt: skip
        endpoints[endpoint.key] = endpoint
    policies = []
    for document in content["policies"]:
        meta = document["metadata"]
        key = ObjectKey(document["kind"], content["cluster"], meta.get("namespace", ""), meta["name"])
        spec = structured(document["spec"], CiliumSpec, "/spec", [])
        if spec is None:
            raise ValueError(f"{meta['name']} is not a policy")
        policies += cilium.policies_of(key, [("spec", spec)], cilium.Surroundings())
    world = World(
        policies=tuple(policies), identities=identities, endpoints=endpoints, namespace_labels=spaces
    )
    local = tuple(key for key in endpoints if key.cluster == content["cluster"])
    return Input(source, world, local, len(content["policies"]), content)
