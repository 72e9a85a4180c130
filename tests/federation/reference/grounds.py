"""The ground on which random policies are laid: who stands there, by Hypothesis, and what is asked about them."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st

from tests.federation.reference.ends import CLUSTER, End

Document = dict[str, Any]
picks = st.sampled_from
PORTS = [
    {"name": "http", "containerPort": 80},
    {"name": "http", "containerPort": 8080},
    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
    {"name": "dns", "containerPort": 53},
    {"name": "sig", "containerPort": 80, "protocol": "SCTP"},
]
OUTSIDE = ("8.8.8.8", "10.0.1.77", "2001:db8::8", "fd00::1:77")
QUESTIONS: dict[int, list[dict[str, Any]]] = {
    version: [
        {"protocol": "TCP", "port": 80},
        {"protocol": "TCP", "port": 8080},
        {"protocol": "TCP", "port": 53, "sourcePort": 1234},
        {"protocol": "UDP", "port": 53},
        {"protocol": "UDP", "port": 80},
        {"protocol": "SCTP", "port": 80},
        {"protocol": 47},
        {"protocol": icmp, "icmp": {"type": echo, "code": 0}},
        {"protocol": icmp, "icmp": {"type": 3, "code": 4}},
    ]
    for version, icmp, echo in ((4, "ICMP", 8), (6, "ICMPv6", 128))
}


def document(version: str, kind: str, name: str, spec: Any, **meta: Any) -> Document:
    """A document; metadata without what is empty."""
    kept = {key: value for key, value in meta.items() if value}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **kept}, "spec": spec}


def node(name: str, number: int, cluster: str, labels: dict[str, str]) -> Document:
    addresses = [
        {"type": "InternalIP", "address": text} for text in (f"192.168.0.{number}", f"fd01::{number}")
    ]
    labels = {**labels, **({CLUSTER: cluster} if cluster else {})}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"addresses": addresses},
    }  # fmt: skip


def pod(place: str, address: str, labels: dict[str, str], **spec: Any) -> Document:
    """`place` is namespace/name; 10.0.N.M is fd00::N:M too."""
    namespace, name = place.split("/")
    third, last = address.split(".")[2:]
    ips = [address] if address.startswith("192") else [address, f"fd00::{third}:{last}"]
    container = {"name": "c", "ports": spec.pop("ports", [])}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [container], **spec}, "status": {"podIPs": [{"ip": ip} for ip in ips]},
    }  # fmt: skip


@st.composite
def grounds(draw: st.DrawFn) -> list[Document]:
    """Three namespaces (of one there is no document), pods of two clusters, three nodes, accounts."""
    found: list[Document] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"ns": "x"}}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "y", "labels": {"ns": "y", "tenant": "blue"}}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "y", "labels": {"kind": "machine"}}},
        node("n1", 1, "", {"zone": "a"}), node("n2", 2, "", {"zone": "b"}),
    ]  # fmt: skip
    is_wide = draw(picks([True, True, False]))
    if is_wide:
        found.append(node("n1", 3, "c2", {"zone": "a"}))
    if draw(st.booleans()):
        found.append(pod("y/h", "192.168.0.2", {"app": "web"}, hostNetwork=True, nodeName="n2"))
    places = [("x/a", "10.0.0.1"), ("x/b", "10.0.0.2"), ("y/a", "10.0.1.1"), ("z/c", "10.0.2.1")]
    for place, address in [*places, *([("x/far", "10.0.3.1")] if is_wide else [])]:
        labels = draw(st.fixed_dictionaries({"app": picks(["web", "db"])}, optional={"tier": picks(["gold", "web"])}))  # fmt: skip
        if place == "x/b" and draw(picks([True, True, False])):
            labels |= {"projectcalico.org/namespace": "y", "pcns.tenant": "blue"}  # what it has no right to
        if place == "x/far":
            labels[CLUSTER] = "c2"
        spec: dict[str, Any] = {"nodeName": draw(picks(["n1", "n2"])) if place != "x/far" else "n1"}
        if place.startswith("y") and draw(st.booleans()):
            spec["serviceAccountName"] = "robot"
        ports = draw(st.lists(picks(PORTS), max_size=2, unique_by=str))
        found.append(pod(place, address, labels, ports=ports, **spec))
    return found


def addresses(documents: list[Document]) -> list[str]:
    """Every address that somebody has, and some that nobody has."""
    found: dict[str, None] = {}
    for each in documents:
        if each["kind"] == "Pod":
            found |= dict.fromkeys(ip["ip"] for ip in each["status"]["podIPs"])
        if each["kind"] == "Node":
            found |= dict.fromkeys(a["address"] for a in each["status"]["addresses"])
    return [*found, *OUTSIDE]


SAFE = [{"protocol": "TCP", "port": 22}, {"protocol": "TCP", "port": 40000, "sourcePort": 22}]
"""Questions of a host's failsafe ports."""
SAFE_TOO = {version: [*questions, *SAFE] for version, questions in QUESTIONS.items()}


def probes(
    documents: list[Document], questions: dict[int, list[dict[str, Any]]] = QUESTIONS
) -> Iterator[dict[str, Any]]:
    """Every (from, to) of one family, asked every question."""
    ends = addresses(documents)
    for source in ends:
        for to in ends:
            version = ip_address(source).version
            if version != ip_address(to).version or source == to or {source, to} <= {*OUTSIDE}:
                continue
            for question in questions[version]:
                yield {"from": source, "to": to, **question}


def is_own_host(subject: End, peer: End) -> bool:
    return peer.kind == "host" and (peer.cluster, peer.node) == (subject.cluster, subject.node)
