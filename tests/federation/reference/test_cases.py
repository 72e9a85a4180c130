"""Shrunk counter-examples, kept: documents, a probe, and the verdict that the specifications give."""

from typing import Any

import pytest

from federation.simulation.probes import Judge
from tests.federation.reference.comparing import answered, disagreement, simulated
from tests.federation.reference.grounds import Document, document, pod
from tests.federation.reference.judge import Reference

V3 = "projectcalico.org/v3"
PODS = [
    pod("x/a", "10.0.0.1", {}, ports=[{"name": "sig", "containerPort": 80, "protocol": "SCTP"}]),
    pod("y/b", "10.0.1.1", {}),
]


def gnp(**spec: Any) -> Document:
    return document(V3, "GlobalNetworkPolicy", "p", spec)


NOT_SIG = gnp(ingress=[{"action": "Allow", "destination": {"notPorts": ["sig"]}}])
TO_NOT_SIG = gnp(egress=[{"action": "Allow", "destination": {"notPorts": ["sig"]}}])
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n2"},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.9"}]},
}
FROM_STRANGERS = gnp(ingress=[{"action": "Allow", "source": {"notSelector": "all()"}}])
SET = document(V3, "GlobalNetworkSet", "s", {"nets": ["10.0.0.0/24"]}, labels={"role": "dns"})


def to_set(way: str, **ports: list[str]) -> Document:
    """Allow to the port `sig` of who is called `dns`: the pod's address is only because the set holds it."""
    rule = {"action": "Allow", "protocol": "SCTP", "destination": {"selector": "role == 'dns'", **ports}}
    return gnp(**{way: [rule]})


def from_pods(**source: Any) -> list[Document]:
    """What a rule on sources makes of a workload that a network set holds too."""
    of_peers = document(V3, "GlobalNetworkSet", "s", {"nets": ["10.0.1.0/24"]}, labels={"role": "dns"})
    return [of_peers, gnp(ingress=[{"action": "Allow", "source": source}])]


TCP = {"protocol": "TCP", "port": 80}
FAR = {"causeway.dev/cluster": "far"}
FAR_SET = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "y", "labels": {"tenant": "blue"}}},
    document(V3, "NetworkSet", "s", {"nets": ["8.0.0.0/8"]}, namespace="y", labels=FAR),
    gnp(ingress=[{"action": "Allow", "source": {"namespaceSelector": "tenant == 'blue'"}}]),
]
CLAIMED = [pod("y/claims", "10.0.1.3", {"pcns.tenant": "blue"}), gnp(ingress=[{"action": "Allow", "source": {"selector": "has(pcns.tenant)"}}])]  # fmt: skip
SIG = {"protocol": "SCTP", "port": 80}
CASES: list[tuple[str, list[Document], dict[str, Any], str]] = [
    ("notPorts mean protocols without ports too", [NOT_SIG], {"protocol": 47}, "Allow"),
    ("notPorts mean ICMP too", [NOT_SIG], {"protocol": "ICMP"}, "Allow"),
    ("notPorts by name exclude the subject's port", [NOT_SIG], {"protocol": "SCTP", "port": 80}, "Deny"),
    ("but not of another protocol", [NOT_SIG], {"protocol": "TCP", "port": 80}, "Allow"),
    ("the peer's notPorts mean protocols without ports too", [TO_NOT_SIG], {"protocol": 47}, "Allow"),
    (
        "a notSelector leaves hosts that no HostEndpoint names to strangers",
        [FROM_STRANGERS, NODE],
        {"from": "10.0.1.9", "protocol": "TCP", "port": 80},
        "Allow",
    ),
    ("and takes no workload for one", [FROM_STRANGERS], {"protocol": "TCP", "port": 80}, "Deny"),
    ("a port's name is of ends that are selected", [SET, to_set("egress", ports=["sig"])], SIG, "Deny"),
    ("the subject's too", [SET, to_set("ingress", ports=["sig"])], SIG, "Deny"),
    ("and so among notPorts", [SET, to_set("egress", notPorts=["sig"])], SIG, "Allow"),
    ("and among the subject's notPorts", [SET, to_set("ingress", notPorts=["sig"])], SIG, "Allow"),
    ("a workload is what the set is that holds it", from_pods(selector="role == 'dns'"), TCP, "Allow"),
    ("but not half by the one and half by the other", from_pods(selector="role == 'dns'", namespaceSelector="all()"), TCP, "Deny"),
    ("nor by its own labels where the set has others", from_pods(selector="role == 'dns'", notSelector="has(projectcalico.org/orchestrator)"), TCP, "Allow"),
    ("a namespace of every cluster is one where only a network set is too", FAR_SET, {"from": "8.8.8.8", **TCP}, "Allow"),
    ("what a workload claims of its namespace does not count", CLAIMED, {"from": "10.0.1.3", **TCP}, "Deny"),
    ("the peer's notPorts exclude its port", [TO_NOT_SIG], {"protocol": "SCTP", "port": 80}, "Deny"),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "question", "verdict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])  # fmt: skip
def test_what_was_once_wrong_is_right(
    documents: list[Document], question: dict[str, Any], verdict: str
) -> None:
    probe = {"from": "10.0.1.1", "to": "10.0.0.1", **question}
    reference = Reference([*PODS, *documents])
    assert ("Deny" in reference.sides(reference.packet(probe))) is (verdict == "Deny")
    assert answered(Judge(simulated([*PODS, *documents])), probe)[0] == verdict
    assert disagreement([*PODS, *documents]) == ""
