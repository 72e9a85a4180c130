"""Calico's policies in random worlds: the simulator and the compiled tables say what the reference evaluator says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.federation.reference.comparing import WORLDS, disagreement
from tests.federation.reference.ends import CLUSTER
from tests.federation.reference.grounds import Document, document, grounds, picks

V3 = "projectcalico.org/v3"
SELECTORS = [
    "all()", "app == 'web'", "app != 'web'", "has(tier)", "!has(tier)", "tier in {'gold', 'web',}", "app not in {'db'}",
    "app contains 'e' && !(tier starts with 'g')", "tier ends with 'd' || role == 'dns'", "role == 'dns'",
    f"{CLUSTER} == 'c2'", f"{CLUSTER} != 'c2' && app == 'db'", "projectcalico.org/namespace == 'y'",
    "projectcalico.org/orchestrator == 'k8s'", "projectcalico.org/serviceaccount == 'robot'", "has(projectcalico.org/namespace)",
    "app notin {}", "app in {}", "pcns.tenant == 'blue'", "pcsa.kind == 'machine' || pcns.ns == 'x'", "!has(pcns.tenant)",
]  # fmt: skip
NAMESPACES = [
    "all()", "ns == 'x'", "ns != 'x'", "has(tenant)", "!has(tenant)", "tenant == 'blue' || ns == 'x'", "ns not in {'y'}",
    "kubernetes.io/metadata.name == 'z'", "projectcalico.org/name in {'x', 'z'}",
]  # fmt: skip
ACCOUNTS = ["kind == 'machine'", "!has(kind)", "projectcalico.org/name == 'robot'", "all()"]
NETS = {
    4: ["10.0.0.0/16", "10.0.0.0/24", "10.0.0.2/31", "10.0.1.0/24", "0.0.0.0/0", "8.0.0.0/8", "8.8.8.8/32", "192.168.0.2/32", "10.0.1.64/26"],
    6: ["fd00::/64", "fd00::/112", "fd00::2/128", "fd00::1:0/112", "::/0", "2001:db8::/32", "fd01::2/128", "fd00::1:77/128"],
}  # fmt: skip
NAMES: list[int | str] = ["http", "dns", "sig"]
PORTS = [*NAMES, 80, 53, "53:80", "8000:9000", "40000", 1234]


@st.composite
def entities(draw: st.DrawFn, version: int, ports: list[int | str]) -> dict[str, Any]:
    """One side of a rule; of few fields, so that it matches now and then."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "selector": picks(SELECTORS),
        "notSelector": picks(SELECTORS),
        "namespaceSelector": picks([*NAMESPACES, "global()"]),
        "serviceAccounts": picks(
            [{"names": ["robot"]}, {"names": ["default", "robot"]}, *({"selector": s} for s in ACCOUNTS), {"names": ["default"], "selector": "kind == 'machine'"}]
        ),
        "nets": st.lists(picks(NETS[version]), min_size=1, max_size=2, unique=True),
        "notNets": st.lists(picks([n for n in NETS[version] if not n.endswith("/0")]), min_size=1, max_size=2, unique=True),
    }  # fmt: skip
    if ports:
        fields["ports"] = st.lists(picks(ports), min_size=1, max_size=3, unique=True)
        fields["notPorts"] = st.lists(picks(ports), min_size=1, max_size=2, unique=True)
    chosen = draw(st.lists(picks(sorted(fields)), min_size=1, max_size=2, unique=True))
    return {name: draw(fields[name]) for name in chosen}


@st.composite
def protocols(draw: st.DrawFn) -> dict[str, Any]:
    match draw(picks("--nniii!o")):
        case "n":
            return {"protocol": draw(picks(["TCP", "UDP", "SCTP", 6, "tcp"]))}
        case "i":
            icmps = [{"type": 8}, {"type": 3}, {"type": 3, "code": 4}, {"type": 3, "code": 0}, {"type": 128}]
            chosen = draw(st.lists(picks(["icmp", "notICMP"]), max_size=2, unique=True))
            return {
                "protocol": draw(picks(["ICMP", "ICMPv6"])),
                **{name: draw(picks(icmps)) for name in chosen},
            }
        case "!":
            return {"notProtocol": draw(picks(["TCP", "UDP", 1, 58, 47]))}
        case "o":
            return {"protocol": draw(picks([47, 1, 132]))}
    return {}


@st.composite
def rules(draw: st.DrawFn, way: str) -> dict[str, Any]:
    """One line: most ask something of the peer, few of the subject."""
    rule = {"action": draw(picks(["Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log"]))}
    rule |= draw(protocols())
    protocol = rule.get("protocol")
    ports = PORTS if protocol in ("TCP", "UDP", "SCTP", "tcp", 6, 132) else NAMES
    ports = [] if protocol in ("ICMP", "ICMPv6", 1, 47) else ports
    version = {"ICMP": 4, "1": 4, "ICMPv6": 6}.get(str(protocol)) or draw(picks([4, 6]))
    if draw(st.integers(0, 5)) == 5 and rule.get("notProtocol") not in (1, 58):
        rule["ipVersion"] = version
    own, peer = ("destination", "source") if way == "ingress" else ("source", "destination")
    if draw(st.integers(0, 4)):
        rule[peer] = draw(entities(version, ports))
    if not draw(st.integers(0, 3)):
        rule[own] = draw(entities(version, ports))
    return rule


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """What both kinds have."""
    spec: dict[str, Any] = {}
    if draw(st.booleans()):
        spec["tier"] = draw(picks(["default", "first", "passing", "missing"]))
    if draw(st.booleans()):
        spec["order"] = draw(picks([1, 1000, 2.5, -1]))
    if not draw(st.integers(0, 2)):
        spec["selector"] = draw(picks(SELECTORS))
    if not draw(st.integers(0, 7)):
        spec["serviceAccountSelector"] = draw(picks(ACCOUNTS))
    for way in draw(picks([["ingress"], ["egress"], ["ingress", "egress"], []])):
        spec[way] = draw(st.lists(rules(way), min_size=1, max_size=3))
    if not draw(st.integers(0, 5)):
        spec["types"] = draw(picks([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    return spec


@st.composite
def policies(draw: st.DrawFn) -> Document:
    spec, name = draw(specs()), draw(picks(["allow", "allow-dns", "b"]))
    if draw(st.booleans()):
        if not draw(st.integers(0, 3)):
            spec["namespaceSelector"] = draw(picks(NAMESPACES))
        return document(V3, "GlobalNetworkPolicy", name, spec)
    labels = {} if draw(st.integers(0, 4)) else {CLUSTER: draw(picks(["c2", "default"]))}
    return document(
        V3, "NetworkPolicy", name, spec, namespace=draw(picks(["x", "x", "y", "z"])), labels=labels
    )


@st.composite
def sets(draw: st.DrawFn, number: int) -> Document:
    spec = {"nets": draw(st.lists(picks(NETS[4] + NETS[6]), min_size=1, max_size=3, unique=True))}
    labels = {"role": draw(picks(["dns", "db"]))} | draw(
        picks([{}, {"app": "web"}, {"tier": "gold", "app": "db"}])
    )
    if draw(st.booleans()):
        return document(V3, "GlobalNetworkSet", f"s{number}", spec, labels=labels)
    labels |= {} if draw(st.integers(0, 2)) else {CLUSTER: draw(picks(["c2", "default"]))}
    return document(V3, "NetworkSet", f"s{number}", spec, labels=labels, namespace=draw(picks(["x", "y"])))


def named(documents: list[Document]) -> list[Document]:
    """Each name once: a document of the same kind, namespace and name is the same policy."""
    return list({(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in documents}.values())  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> list[Document]:
    tiers = [
        document(V3, "Tier", "first", {"order": draw(picks([1, 1000001])), "defaultAction": draw(picks(["Deny", "Pass"]))}),
        document(V3, "Tier", "passing", {"defaultAction": "Pass"} | draw(picks([{}, {"order": 1}]))),
    ]  # fmt: skip
    chosen = named(draw(st.lists(policies(), min_size=1, max_size=4)))
    if draw(st.booleans()):  # all in one place, for everybody: the rules alone decide
        for each in chosen:
            for name in ("tier", "order", "selector", "namespaceSelector", "serviceAccountSelector"):
                each["spec"].pop(name, None)
    return [
        *draw(grounds()),
        *tiers,
        *(draw(sets(n)) for n in range(draw(picks([0, 1, 2, 2])))),
        *chosen,
    ]


@WORLDS
@given(documents=worlds())
def test_calicos_policies_mean_what_the_reference_says(documents: list[Document]) -> None:
    assert disagreement(documents) == ""
