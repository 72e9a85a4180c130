"""NetworkPolicies and administrators' policies in random worlds: simulator and tables say what the reference evaluator says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.federation.reference.comparing import WORLDS, disagreement
from tests.federation.reference.ends import CLUSTER
from tests.federation.reference.grounds import Document, document, grounds, picks

PODS: list[dict[str, Any]] = [
    {}, {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db", "tier": "gold"}},
    {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]},
    {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold", "web"]}]},
]  # fmt: skip
NAMESPACES: list[dict[str, Any]] = [
    {}, {"matchLabels": {"ns": "x"}}, {"matchLabels": {"kubernetes.io/metadata.name": "z"}},
    {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x"]}]}, {"matchExpressions": [{"key": "tenant", "operator": "DoesNotExist"}]},
    {"matchExpressions": [{"key": "tenant", "operator": "In", "values": ["blue"]}]},
]  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {"cidr": "10.0.0.0/16", "except": ["10.0.0.2/31", "10.0.1.64/26"]}, {"cidr": "10.0.0.0/24"}, {"cidr": "0.0.0.0/0"},
    {"cidr": "0.0.0.0/0", "except": ["8.0.0.0/8", "10.0.0.0/8"]}, {"cidr": "fd00::/64", "except": ["fd00::1:0/112"]}, {"cidr": "::/0"},
    {"cidr": "192.168.0.2/32"}, {"cidr": "8.8.8.8/32"}, {"cidr": "fd00::2/128"},
]  # fmt: skip
NETWORKS = ["10.0.0.0/16", "10.0.0.2/31", "0.0.0.0/0", "8.0.0.0/8", "fd00::1:0/112", "::/0", "192.168.0.2/32"]
PORTS: list[dict[str, Any]] = [
    {"port": 80}, {"port": 80, "protocol": "SCTP"}, {"port": "http"}, {"port": "dns", "protocol": "UDP"}, {"port": "dns"},
    {"port": 53, "endPort": 80}, {"port": 50, "endPort": 80, "protocol": "UDP"}, {"protocol": "UDP"}, {}, {"port": "sig", "protocol": "SCTP"},
]  # fmt: skip
ADMIN_PORTS: list[dict[str, Any]] = [
    {"portNumber": {"port": 80, "protocol": "TCP"}}, {"portNumber": {"port": 80, "protocol": "SCTP"}}, {"namedPort": "http"}, {"namedPort": "dns"},
    {"portRange": {"start": 50, "end": 80, "protocol": "UDP"}}, {"portRange": {"start": 80, "end": 9000}},
]  # fmt: skip
PROTOCOLS: list[dict[str, Any]] = [
    {"tcp": {"destinationPort": {"number": 80}}}, {"udp": {"destinationPort": {"range": {"start": 50, "end": 60}}}}, {"sctp": {}}, {"tcp": {}},
    {"destinationNamedPort": "dns"}, {"destinationNamedPort": "sig"}, {"udp": {}},
]  # fmt: skip


def few(choices: list[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(picks(choices), min_size=least, max_size=2, unique_by=str)


def labels() -> st.SearchStrategy[dict[str, str]]:
    """Most policies are everybody's."""
    return picks([{}, {}, {}, {}, {}, {}, {CLUSTER: "c2"}, {CLUSTER: "default"}])


@st.composite
def network_policies(draw: st.DrawFn) -> Document:
    peers = [{"podSelector": s} for s in PODS] + [{"namespaceSelector": s} for s in NAMESPACES]
    peers += [{"ipBlock": b} for b in BLOCKS]
    peers += [{"namespaceSelector": n, "podSelector": p} for n in NAMESPACES[1:4] for p in PODS[1:4]]
    spec: dict[str, Any] = {"podSelector": draw(picks([{}, {}, {}, *PODS]))}
    sides = {"ingress": "from", "egress": "to"}
    for way, side in sides.items():
        if draw(st.booleans()):
            spec[way] = [
                {
                    name: draw(choices)
                    for name, choices in ((side, few(peers, 1) | few(peers)), ("ports", few(PORTS)))
                    if draw(picks([True, True, side == name]))
                }
                for _ in range(draw(picks([0, 1, 1, 1, 2])))
            ]
    if draw(st.integers(0, 2)) == 0:
        spec["policyTypes"] = draw(picks([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    name, namespace = draw(picks(["a", "b"])), draw(picks(["x", "x", "x", "y", "z"]))
    return document("networking.k8s.io/v1", "NetworkPolicy", name, spec, namespace=namespace, labels=draw(labels()))  # fmt: skip


@st.composite
def admin_rules(draw: st.DrawFn, way: str, actions: list[str], parts: tuple[str, list[Any]]) -> Document:
    peers: list[dict[str, Any]] = [{"namespaces": s} for s in NAMESPACES]
    peers += [{"pods": {"namespaceSelector": n, "podSelector": p}} for n in NAMESPACES for p in PODS[:4]]
    if way == "egress":
        peers += [{"networks": [n]} for n in NETWORKS]
        peers += [{"nodes": {}}, {"nodes": {"matchLabels": {"zone": "b"}}}, {"nodes": {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}}]  # fmt: skip
    rule = {"action": draw(picks(actions)), "to" if way == "egress" else "from": draw(few(peers, 1))}
    if draw(st.booleans()):
        rule[parts[0]] = draw(few(parts[1], 1))
    return rule


@st.composite
def admin_policies(draw: st.DrawFn, number: int, baselines: str) -> Document:
    """`baselines`: the kind whose policies stand in the last tier, for the API does not say how the two kinds meet there."""
    kind = draw(picks(["AdminNetworkPolicy", "ClusterNetworkPolicy", baselines]))
    version, tier, name = "v1alpha1", {}, f"p{number}"
    actions = ["Allow", "Deny", "Pass"]
    parts: tuple[str, list[Any]] = ("ports", ADMIN_PORTS)
    spec: dict[str, Any] = {"priority": number}
    if kind == "ClusterNetworkPolicy":
        version, actions, parts = "v1alpha2", ["Accept", "Deny", "Pass"], ("protocols", PROTOCOLS)
        tier = {"tier": draw(picks(["Admin", "Baseline"] if baselines == kind else ["Admin"]))}
    elif kind == "BaselineAdminNetworkPolicy":
        actions, name, spec = ["Allow", "Deny"], "default", {}
    subject = draw(picks([{"namespaces": n} for n in NAMESPACES] + [{"pods": {"namespaceSelector": n, "podSelector": p}} for n in NAMESPACES[:2] for p in PODS[:3]]))  # fmt: skip
    spec |= {"subject": subject, **tier}
    for way in ("ingress", "egress"):
        if draw(st.booleans()):
            spec[way] = draw(st.lists(admin_rules(way, actions, parts), max_size=3))
    return document(f"policy.networking.k8s.io/{version}", kind, name, spec, labels=draw(labels()))


@st.composite
def worlds(draw: st.DrawFn) -> list[Document]:
    found = draw(st.lists(network_policies(), min_size=1, max_size=3))
    baselines = draw(picks(["BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"]))
    found += [draw(admin_policies(n, baselines)) for n in draw(st.permutations(range(3)))[: draw(st.integers(0, 2))]]  # fmt: skip
    once = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in found}
    return [*draw(grounds()), *once.values()]


@WORLDS
@given(documents=worlds(), home=picks(["", "", "default", "c1"]))
def test_kubernetes_policies_mean_what_the_reference_says(documents: list[Document], home: str) -> None:
    assert disagreement(documents, home) == ""
