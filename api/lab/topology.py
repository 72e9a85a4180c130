"""Who is where in a lab: names and addresses, worked out from counts. Pure."""

import hashlib
import re
from dataclasses import dataclass

from federation.errors import InvalidInput

CONTROL_ADDRESS = "203.0.113.1"
CONTROL_PORT = 8440
PORT = 8080
"""TCP and UDP port of every workload."""
CLUSTERS = ("dc1", "aws1", "gcp1", "edge1", "dc2", "aws2", "gcp2", "edge2")
MAX_CLUSTERS, MAX_NODES, MAX_WORKLOADS = len(CLUSTERS), 9, 20
ROLES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("web", "shop", {}),
    ("api", "shop", {}),
    ("db", "pay", {"pci": "true"}),
    ("batch", "shop", {}),
)
"""(app, namespace, more labels) of a cluster's workloads, in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A namespace with a server in it."""

    name: str
    cluster: str
    node: str
    namespace: str
    labels: dict[str, str]
    address: str
    netns: str
    interface: str

    @property
    def path(self) -> str:
        """As ObjectKey.path."""
        return f"{self.cluster}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    """A namespace with an agent in it."""

    name: str
    cluster: str
    number: int
    address: str
    prefix: str
    netns: str
    tunnel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole lab."""

    name: str
    shape: tuple[int, int, int]
    """How many clusters, and nodes and workloads of each."""
    prefixes: dict[str, str]
    nodes: tuple[LabNode, ...]
    workloads: tuple[Workload, ...]

    @property
    def router(self) -> str:
        """The namespace that plays the internet."""
        return f"cw-{self.name}-inet"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All, in the order of making."""
        return (self.router, *(n.netns for n in self.nodes), *(w.netns for w in self.workloads))


def topology(name: str, clusters: int = 2, nodes: int = 2, workloads: int = 4) -> Topology:
    """The lab of that name: `nodes` and `workloads` are per cluster; workloads go round the nodes. Raises InvalidInput."""
    for what, count, least, most in (
        ("clusters", clusters, 1, MAX_CLUSTERS), ("nodes", nodes, 1, MAX_NODES), ("workloads", workloads, 0, MAX_WORKLOADS),
    ):  # fmt: skip
        if not least <= count <= most:
            raise InvalidInput(f"{count} {what} cannot be had", hint=f"--{what} takes {least} to {most}")
    must_be_name(name)
    all_nodes: list[LabNode] = []
    all_workloads: list[Workload] = []
    chosen = CLUSTERS[:clusters]
    for place, cluster in enumerate(chosen, start=1):
        for number in range(1, nodes + 1):
            netns = f"cw-{name}-{cluster}-n{number}"
            all_nodes.append(
                LabNode(
                    name=f"n{number}", cluster=cluster, number=number, address=f"198.51.{100 + place}.{number}",
                    prefix=f"10.{10 * place}.{number}.0/24", netns=netns, tunnel=tunnel_of(netns),
                )
            )  # fmt: skip
        for index in range(workloads):
            app, namespace, more = ROLES[index % len(ROLES)]
            number = index % nodes + 1
            called = app if index < len(ROLES) else f"{app}{index // len(ROLES)}"
            netns = f"cw-{name}-{cluster}-{called}"
            all_workloads.append(
                Workload(
                    name=called, cluster=cluster, node=f"n{number}", namespace=namespace, labels={"app": app, **more},
                    address=f"10.{10 * place}.{number}.{index + 10}", netns=netns, interface=short("cw", netns),
                )
            )  # fmt: skip
    prefixes = {cluster: f"10.{10 * place}.0.0/16" for place, cluster in enumerate(chosen, start=1)}
    return Topology(
        name=name,
        shape=(clusters, nodes, workloads),
        prefixes=prefixes,
        nodes=tuple(all_nodes),
        workloads=tuple(all_workloads),
    )


def is_name(name: str) -> bool:
    """Whether a lab may be called so: names of namespaces and folders are made of it, and removed by it."""
    return re.fullmatch(r"[a-z0-9]{1,12}", name) is not None


def must_be_name(name: str) -> None:
    """Raises InvalidInput for what is not a lab's name."""
    if not is_name(name):
        raise InvalidInput(f"{name!r} is not a lab's name", hint="1 to 12 lower-case letters and digits")


def tunnel_of(netns: str) -> str:
    """The WireGuard interface of a node's namespace; its socket's name, too, so it differs in every lab."""
    return short("wg", netns)


def short(start: str, text: str) -> str:
    """An interface's name (15 characters at most) that differs wherever `text` does."""
    return start + hashlib.sha256(text.encode()).hexdigest()[:10]
