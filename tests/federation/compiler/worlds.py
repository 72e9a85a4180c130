"""Random worlds for the compiler: endpoints and hosts of two clusters, and policies of all stages."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

from federation.identities import IdentityNumber
from federation.policy.hosts import governed
from federation.policy.parties import labels_of
from federation.policy.world import World, world_of
from federation.resources.codec import decode

SELECTORS = [
    "",
    "all()",
    "app == 'web'",
    "app != 'web'",
    "has(pci)",
    "app in {'db', 'api'} || !has(pci)",
    "role == 'net'",
    "zone == 'dmz'",
    "causeway.dev/cluster == 'dc1'",
]
NETS = {
    4: ["10.10.0.0/16", "10.20.1.0/24", "10.10.1.3/32", "203.0.113.0/24", "0.0.0.0/0"],
    6: ["fd00:10::/32", "fd00:20:0:1::/64", "fd00:10:0:1::3/128", "2001:db8::/32", "::/0"],
}
WORLD_ADDRESSES = (IPv4Address("203.0.113.7"), IPv6Address("2001:db8::7"))
NODES = {
    "dc1": ["10.10.9.1", "10.10.8.1", "fd00:10:0:9::1"],
    "aws1": ["10.20.9.1", "fd00:20:0:9::1"],
}
"""The addresses of the node `n` of each cluster."""
UNLISTED = {"dc1": "10.10.7.1", "aws1": "10.20.7.1"}
"""Those that only host endpoints know."""
STAGES: list[dict[str, bool]] = [
    {},
    {},
    {"applyOnForward": True},
    {"applyOnForward": True},
    {"applyOnForward": True, "preDNAT": True},
    {"applyOnForward": True, "doNotTrack": True},
]
FAMILIES = ((4,), (6,), (4, 6))
picks = st.sampled_from


def document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def endpoint(
    number: int,
    app: str,
    has_pci: bool,
    cluster: str,
    namespace: str,
    service_account: str,
    families: tuple[int, ...],
) -> dict[str, Any]:
    second = {"dc1": 10, "aws1": 20}[cluster]
    labels = {"app": app} | ({"pci": "true"} if has_pci else {})
    ports = [
        {"name": "http", "port": 80 if number % 2 else 8080},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]
    addresses = {4: f"10.{second}.1.{number + 1}", 6: f"fd00:{second}:0:1::{number + 1}"}
    return document(
        "Endpoint", f"e{number}",
        {"node": "n", "addresses": [addresses[family] for family in families], "serviceAccount": service_account, "ports": ports},
        cluster=cluster, namespace=namespace, labels=labels,
    )  # fmt: skip


@st.composite
def entities(draw: st.DrawFn, protocol: str | None, family: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field, choices in (
        ("selector", SELECTORS), ("notSelector", SELECTORS[2:]), ("namespaceSelector", ["all()", "global()", "projectcalico.org/name == 'pay'"]),
    ):  # fmt: skip
        if draw(st.integers(0, 3)) == 0:
            made[field] = draw(picks(choices))
    if draw(st.integers(0, 4)) == 0:
        made["serviceAccounts"] = {"names": [draw(picks(["sa1", "sa2"]))]}
    if draw(st.integers(0, 3)) == 0:
        made["nets"] = draw(st.lists(picks(NETS[family]), min_size=1, max_size=2))
    if draw(st.integers(0, 4)) == 0:
        made["notNets"] = draw(st.lists(picks(NETS[family][:-1]), min_size=1, max_size=2))
    if protocol is None and draw(st.integers(0, 3)) == 0:
        made["ports"] = [draw(picks(["http", "dns"]))]
    if protocol in ("TCP", "UDP") and draw(st.booleans()):
        made["ports"] = draw(st.lists(picks([80, "53:90", "http", "dns", 8080]), min_size=1, max_size=3))
        if draw(st.integers(0, 3)) == 0:
            made["notPorts"] = draw(st.lists(picks([80, "60:85", "http", "dns"]), min_size=1, max_size=2))
    return made


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    protocol = draw(picks([None, None, "TCP", "UDP", "ICMP", "ICMPv6"]))
    rule: dict[str, Any] = {"action": draw(picks(["Allow", "Allow", "Deny", "Pass", "Log"]))}
    if protocol:
        rule["protocol"] = protocol
    if draw(st.integers(0, 4)) == 0:
        rule["notProtocol"] = draw(picks(["TCP", "UDP"]))
    if protocol in ("ICMP", "ICMPv6"):
        for name in ("icmp", "notICMP"):
            if draw(st.booleans()):
                rule[name] = {"type": draw(picks([8, 128]))} | ({"code": 0} if draw(st.booleans()) else {})
    elif draw(st.integers(0, 4)) == 0:
        rule["ipVersion"] = draw(picks([4, 6]))
    family = rule.get("ipVersion") or draw(picks([4, 6]))  # one rule, one family
    for side in ("source", "destination"):
        if draw(st.booleans()):
            rule[side] = draw(entities(protocol, family))
    return rule


@st.composite
def host_endpoints(draw: st.DrawFn, cluster: str, name: str, interface: str) -> dict[str, Any]:
    labels = {"app": draw(picks(["web", "db"]))} | ({"pci": "true"} if draw(st.booleans()) else {})
    spec = {
        "node": "n", "interfaceName": interface,
        "expectedIPs": draw(st.lists(picks([*NODES[cluster], UNLISTED[cluster]]), max_size=2, unique=True)),
        "profiles": draw(st.lists(picks(["base", "more", "projectcalico-default-allow"]), max_size=2, unique=True)),
        "ports": draw(picks([[], [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]])),
    }  # fmt: skip
    return document("HostEndpoint", name, spec, cluster=cluster, labels=labels)


@st.composite
def profiles(draw: st.DrawFn, name: str, lines: st.SearchStrategy[Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {way: draw(st.lists(lines, max_size=2)) for way in ("ingress", "egress")}
    if draw(st.booleans()):
        spec["labelsToApply"] = draw(picks([{"zone": "dmz"}, {"zone": "lan", "pci": "no"}]))
    cluster = draw(picks([{}, {}, {"cluster": "dc1"}]))
    return document("Profile", name, spec, **cluster)


@st.composite
def hosts(draw: st.DrawFn, least: list[str], lines: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
    """Nodes, their host endpoints (`least`, or for one interface, for all of them, for both), and profiles of hosts and of workloads."""
    found = []
    for cluster, addresses in NODES.items():
        found.append(document("Node", "n", {"addresses": addresses}, cluster=cluster, labels={"app": "node"}))
        faces = draw(picks([least, ["*"], ["*"], ["eth1"], ["*", "eth1"]]))
        found += [
            draw(host_endpoints(cluster, f"{cluster}-{n}", interface)) for n, interface in enumerate(faces)
        ]
    names = draw(st.lists(picks(["base", "more", "kns.shop", "ksa.shop.sa1"]), max_size=2, unique=True))
    return found + [draw(profiles(name, lines)) for name in names]


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    documents = [
        endpoint(
            n, draw(picks(["web", "api", "db"])), draw(st.booleans()), draw(picks(["dc1", "aws1"])),
            draw(picks(["shop", "pay"])), draw(picks(["", "sa1", "sa2"])), draw(picks(FAMILIES)),
        )
        for n in range(draw(st.integers(2, 4)))
    ]  # fmt: skip
    documents.append(document("Tier", "first", {"order": 1, "defaultAction": draw(picks(["Deny", "Pass"]))}))
    if draw(st.booleans()):
        documents.append(
            document(
                "GlobalNetworkSet",
                "s",
                {"nets": ["203.0.113.0/24", "10.20.1.0/24", "2001:db8::/32", "fd00:20::/32"]},
                labels={"role": "net"},
            )
        )
    for n in range(draw(st.integers(1, 4))):
        spec: dict[str, Any] = {
            "tier": draw(picks(["first", "default", "gone"])),
            "selector": draw(picks(SELECTORS)),
        }
        if draw(st.booleans()):
            spec["order"] = draw(picks([1, 2]))
        kind = draw(picks(["GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy"]))
        if kind == "GlobalNetworkPolicy":
            spec |= draw(picks(STAGES))
        for direction in ["ingress"] if "preDNAT" in spec else ["ingress", "egress"]:
            spec[direction] = draw(st.lists(rules(), max_size=3))
        meta: dict[str, Any] = {"namespace": draw(picks(["shop", "pay"]))} if kind == "NetworkPolicy" else {}
        if meta and draw(st.booleans()):
            meta["cluster"] = "dc1"
        documents.append(document(kind, f"p{n}", spec, **meta))
    if draw(st.integers(0, 2)):
        documents += draw(hosts([], rules()))
    return documents


@st.composite
def plain_rules(draw: st.DrawFn) -> dict[str, Any]:
    """Rules that ask one thing of one end, so that most match now and then."""
    rule: dict[str, Any] = {"action": draw(picks(["Allow", "Deny", "Deny", "Pass"]))}
    family = draw(picks([4, 6]))
    asked: list[dict[str, Any]] = [
        {},
        *({name: text} for name in ("selector", "notSelector") for text in SELECTORS[2:7]),
    ]
    asked += [{name: [net]} for name in ("nets", "notNets") for net in NETS[family][:-1]]
    if draw(st.booleans()):
        rule["protocol"] = "TCP"
        asked += [{name: [port]} for name in ("ports", "notPorts") for port in (80, "http", 22)] * 2
        asked += [{"selector": "has(app)", "ports": ["http"]}] * 2
    rule[draw(picks(["source", "destination"]))] = draw(picks(asked))
    return rule


@st.composite
def worlds_of_hosts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Few endpoints, hosts that are policed, and policies of every stage with plain rules."""
    documents = [
        endpoint(n, draw(picks(["web", "db"])), draw(st.booleans()), cluster, "shop", "", (4, 6))
        for n, cluster in enumerate(["dc1", "aws1"])
    ]
    documents += draw(hosts(["*"], plain_rules()))
    for n in range(draw(st.integers(1, 3))):
        spec: dict[str, Any] = {"tier": draw(picks(["first", "default"])), **draw(picks(STAGES))}
        for way in ["ingress"] if "preDNAT" in spec else ["ingress", "egress"]:
            spec[way] = draw(st.lists(plain_rules(), min_size=1, max_size=2))
        documents.append(document("GlobalNetworkPolicy", f"p{n}", spec))
    return documents


def numbered(
    documents: list[dict[str, Any]], given: dict[str, IdentityNumber] | None = None
) -> tuple[World, dict[Any, IdentityNumber]]:
    """A world, with numbers for its identities: those `given` before, and (put into it) new ones."""
    resources = [decode(d) for d in documents]
    numbers = {} if given is None else given
    seen: set[str] = set()
    identities, of_endpoint = [], {}
    for resource in resources:
        if resource.kind != "Endpoint":
            continue
        labels = labels_of(resource)
        numbers.setdefault(str(labels), IdentityNumber(256 + len(numbers)))
        if str(labels) not in seen:
            seen.add(str(labels))
            identities.append(
                decode(
                    document(
                        "Identity",
                        str(numbers[str(labels)]),
                        {"number": numbers[str(labels)], "labels": labels},
                    )
                )
            )
        of_endpoint[resource.key] = numbers[str(labels)]
    return governed(world_of([*resources, *identities]), resources), of_endpoint
