"""Cilium's policies in random worlds: the simulator and the compiled tables say what the reference evaluator says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.federation.reference.comparing import WORLDS, disagreement
from tests.federation.reference.grounds import Document, document, grounds, picks
from tests.federation.reference.test_kubernetes import few, labels

ENDPOINTS: list[dict[str, Any]] = [
    {}, {"matchLabels": {"app": "web"}}, {"matchLabels": {"k8s:app": "db"}}, {"matchLabels": {"any:tier": "gold"}},
    {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]}, {"matchExpressions": [{"key": "k8s:tier", "operator": "DoesNotExist"}]},
    {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "y"}}, {"matchLabels": {"io.cilium.k8s.namespace.labels.tenant": "blue"}},
    {"matchExpressions": [{"key": "io.kubernetes.pod.namespace", "operator": "NotIn", "values": ["x"]}]},
    {"matchExpressions": [{"key": "io.cilium.k8s.namespace.labels.tenant", "operator": "DoesNotExist"}]},
    {"matchLabels": {"io.cilium.k8s.policy.cluster": "c2"}}, {"matchExpressions": [{"key": "k8s:io.cilium.k8s.policy.cluster", "operator": "Exists"}]},
    {"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "robot"}},
    {"matchLabels": {"io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": "z"}},
]  # fmt: skip
SUBJECTS = ENDPOINTS[:6]
NODES: list[dict[str, Any]] = [
    {}, {"matchLabels": {"zone": "b"}}, {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]},
]  # fmt: skip
ENTITIES = [
    "all", "world", "world-ipv4", "world-ipv6", "cluster", "cluster-mesh", "host", "remote-node", "none", "health",
]  # fmt: skip
CIDRS = ["8.0.0.0/8", "0.0.0.0/0", "10.0.0.1/8", "8.8.8.8/32", "::/0", "2001:db8::/32", "fd00::1:77/128"]
CIDR_SETS: list[dict[str, Any]] = [
    {"cidr": "8.0.0.0/8", "except": ["8.8.0.0/16"]}, {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}, {"cidr": "10.0.1.64/26", "except": ["10.0.1.64/26"]},
    {"cidr": "::/0", "except": ["fd00::1:64/122", "2001::/16"]}, {"cidrGroupRef": "g"}, {"cidrGroupSelector": {"matchLabels": {"role": "far"}}},
    {"cidrGroupRef": "g", "except": ["8.8.8.0/24"]}, {"cidrGroupRef": "gone"},
]  # fmt: skip
PORTS: list[dict[str, Any]] = [
    {"port": "80"}, {"port": "80", "protocol": "TCP"}, {"port": "50", "endPort": 80, "protocol": "UDP"}, {"port": "http", "protocol": "TCP"}, {"port": "dns"},
    {"port": "0", "protocol": "TCP"}, {"port": "0"}, {"port": "80", "protocol": "SCTP"}, {"port": "sig", "protocol": "ANY"}, {"port": "dns", "protocol": "UDP"},
]  # fmt: skip
FIELDS: list[dict[str, Any]] = [
    {"type": 8}, {"family": "IPv4", "type": "EchoRequest"}, {"family": "IPv6", "type": 128}, {"type": 3}, {"family": "IPv6", "type": "EchoRequest"}, {"family": "IPv6", "type": 3},
]  # fmt: skip
GROUP = document("cilium.io/v2", "CiliumCIDRGroup", "g", {"externalCIDRs": ["8.0.0.0/8", "fd00::1:0/112"]}, labels={"role": "far"})  # fmt: skip


@st.composite
def rules(draw: st.DrawFn, side: str, is_denial: bool) -> dict[str, Any]:
    kinds = {"Endpoints": ENDPOINTS, "Entities": ENTITIES, "CIDR": CIDRS, "CIDRSet": CIDR_SETS, "Nodes": NODES}  # fmt: skip
    rule: dict[str, Any] = {}
    if draw(st.integers(0, 5)):
        name = draw(picks(["Endpoints", *kinds]))
        rule[side + name] = draw(few(kinds[name], 1) | few(kinds[name]))
    match draw(st.integers(0, 5)):
        case 0 | 1:
            rule["toPorts"] = [{"ports": draw(few(PORTS, 1))} for _ in range(draw(st.integers(1, 2)))]
            if not is_denial and draw(st.integers(0, 5)) == 0:
                rule["toPorts"].append({"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}})  # fmt: skip
        case 2:
            rule["icmps"] = [{"fields": draw(few(FIELDS, 1))}]
    return rule


@st.composite
def specs(draw: st.DrawFn, is_clusterwide: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if is_clusterwide and draw(st.integers(0, 2)) == 0:
        spec["nodeSelector"] = draw(picks(NODES))
    else:
        spec["endpointSelector"] = draw(picks([{}, {}, {}, *SUBJECTS]))
    sections = draw(st.lists(picks(["ingress", "ingressDeny", "egress", "egressDeny"]), min_size=1, max_size=3, unique=True))  # fmt: skip
    for place, section in enumerate(sections):
        side = "from" if section.startswith("ingress") else "to"
        spec[section] = draw(st.lists(rules(side, section.endswith("Deny")), min_size=0 if place else 1, max_size=3))  # fmt: skip
    if draw(st.integers(0, 2)) == 0:
        flags = {way: draw(st.booleans()) for way in ("ingress", "egress") if draw(st.booleans())}
        spec["enableDefaultDeny"] = flags
    return spec


@st.composite
def policies(draw: st.DrawFn, number: int) -> Document:
    is_clusterwide = draw(st.booleans())
    kind = "CiliumClusterwideNetworkPolicy" if is_clusterwide else "CiliumNetworkPolicy"
    namespace = "" if is_clusterwide else draw(picks(["x", "x", "x", "y", "z"]))
    name = f"p{number}"
    found = document("cilium.io/v2", kind, name, draw(specs(is_clusterwide)), namespace=namespace, labels=draw(labels()))  # fmt: skip
    if draw(st.integers(0, 3)) == 0:
        found["specs"] = [draw(specs(is_clusterwide))]
        if draw(st.booleans()):
            del found["spec"]
    return found


@st.composite
def worlds(draw: st.DrawFn) -> list[Document]:
    return [*draw(grounds()), GROUP, *(draw(policies(n)) for n in range(draw(st.integers(1, 3))))]


@WORLDS
@given(documents=worlds(), home=picks(["", "", "default", "c1"]))
def test_ciliums_policies_mean_what_the_reference_says(documents: list[Document], home: str) -> None:
    assert disagreement(documents, home) == ""
