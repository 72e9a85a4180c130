"""What is compiled for a kernel says what the engine says, whatever world the policies come from."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.compiler import compile_tables
from federation.identities import HOST, REMOTE_NODE, WORLD, IdentityNumber
from federation.policy.evaluate import Engine
from federation.policy.parties import Probe, labels_of, protocol_number
from federation.policy.tables import Direction
from federation.policy.walk import Packet, peer_row, walk
from federation.policy.world import World
from federation.resources.metadata import ObjectKey
from federation.simulation.reading import read

picks = st.sampled_from
OUTSIDE = (IPv4Address("8.8.8.8"), IPv6Address("2001:db8::8"))
QUESTIONS = (("TCP", 80), ("TCP", 443), ("UDP", 53), ("ICMP", 0), ("SCTP", 80))
SELECTORS = [{}, {"matchLabels": {"pod": "a"}}, {"matchExpressions": [{"key": "pod", "operator": "NotIn", "values": ["a"]}]}]  # fmt: skip
EXCEPT_WORLD = [
    {"key": "reserved:all", "operator": "Exists"},
    {"key": "reserved:world-ipv4", "operator": "DoesNotExist"},
]
OUTSIDE_SERVICE = [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside", "namespace": "y"}, "spec": {"ports": [{"port": 80}]}},
    {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside", "namespace": "y"},
        "subsets": [{"addresses": [{"ip": "8.8.8.8"}, {"ip": "10.0.0.2"}, {"ip": "2001:db8::8"}], "ports": [{"port": 80}]}],
    },
]  # fmt: skip
NAMESPACES = [
    {},
    {"matchLabels": {"ns": "y"}},
    {"matchExpressions": [{"key": "tenant", "operator": "DoesNotExist"}]},
]


def document(group: str, kind: str, name: str, spec: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": group, "kind": kind, "metadata": meta, "spec": spec}


@st.composite
def kubernetes(draw: st.DrawFn, name: str) -> dict[str, Any]:
    def peers() -> list[dict[str, Any]]:
        choices = [{"podSelector": s} for s in SELECTORS] + [{"namespaceSelector": s} for s in NAMESPACES]
        choices += [
            {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}},
            {"ipBlock": {"cidr": "0.0.0.0/0"}},
            {"ipBlock": {"cidr": "fd00::/16", "except": ["fd00::2/127"]}},
        ]
        return draw(st.lists(picks(choices), max_size=2))

    def ports() -> list[dict[str, Any]]:
        choices: list[dict[str, Any]] = [
            {"port": 80},
            {"port": "http"},
            {"port": "dns", "protocol": "UDP"},
            {"port": 70, "endPort": 90},
        ]
        return draw(st.lists(picks(choices), max_size=2))

    spec: dict[str, Any] = {"podSelector": draw(picks(SELECTORS))}
    if draw(st.booleans()):
        spec["ingress"] = [{"from": peers(), "ports": ports()} for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        spec["egress"] = [{"to": peers(), "ports": ports()} for _ in range(draw(st.integers(0, 2)))]
    return document("networking.k8s.io/v1", "NetworkPolicy", name, spec, draw(picks(["x", "y"])))


@st.composite
def admin(draw: st.DrawFn, name: str) -> dict[str, Any]:
    def rules(egress: bool) -> list[dict[str, Any]]:
        choices: list[dict[str, Any]] = [{"namespaces": s} for s in NAMESPACES]
        if egress:
            choices += [
                {"nodes": {"matchLabels": {"zone": "b"}}},
                {"nodes": {}},
                {"networks": ["8.0.0.0/8", "10.0.1.0/24", "2001:db8::/32"]},
            ]
        ports = [
            {"portNumber": {"port": 80}},
            {"namedPort": "dns"},
            {"portRange": {"start": 50, "end": 60, "protocol": "UDP"}},
        ]
        return [
            {
                "action": draw(picks(["Accept", "Deny", "Pass"])),
                ("to" if egress else "from"): [draw(picks(choices))],
            }
            | (
                {"protocols": [{"tcp": {"destinationPort": {"number": 80}}}, {"destinationNamedPort": "dns"}]}
                if draw(st.booleans()) and ports
                else {}
            )
            for _ in range(draw(st.integers(0, 2)))
        ]

    spec = {
        "tier": draw(picks(["Admin", "Baseline"])), "priority": draw(st.integers(0, 3)), "subject": {"namespaces": draw(picks(NAMESPACES))},
        "ingress": rules(False), "egress": rules(True),
    }  # fmt: skip
    return document("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", name, spec)


@st.composite
def cilium(draw: st.DrawFn, name: str) -> dict[str, Any]:
    def rule(side: str, way: str) -> dict[str, Any]:
        choices: list[dict[str, Any]] = [{f"{side}Endpoints": [s]} for s in SELECTORS]
        choices += [{f"{side}Entities": [e]} for e in ("world", "cluster", "all", "none", "remote-node")]
        choices += [
            {f"{side}CIDR": ["0.0.0.0/0"]},
            {f"{side}CIDRSet": [{"cidr": "2000::/3", "except": ["2001:db8::8/128"]}]},
            {f"{side}Entities": ["world-ipv6"]},
            {f"{side}Endpoints": [{"matchLabels": {"reserved:world": ""}}, {"matchLabels": {"pod": "a"}}]},
            {f"{side}Endpoints": [{"matchExpressions": EXCEPT_WORLD}]},
            {f"{side}Nodes": [{"matchLabels": {"zone": "b"}}]},
            {f"{side}Endpoints": [], f"{side}Entities": ["all"]},
            {f"{side}CIDRSet": [{"cidr": "8.0.0.0/8", "except": ["8.8.8.8/32"]}]},
            {},
        ]
        made = dict(draw(picks(choices)))
        if way == "egress" and draw(st.integers(0, 4)) == 0:
            name = draw(picks(["s", "outside"]))
            made = {"toServices": [{"k8sService": {"serviceName": name, "namespace": "y"}}]}
        if draw(st.booleans()):
            made["toPorts"] = [
                {
                    "ports": [
                        draw(
                            picks(
                                [
                                    {"port": "80"},
                                    {"port": "dns", "protocol": "UDP"},
                                    {"port": "0", "protocol": "TCP"},
                                ]
                            )
                        )
                    ]
                }
            ]
        return made

    sections = draw(
        st.lists(
            picks(["ingress", "ingressDeny", "egress", "egressDeny"]), min_size=1, max_size=3, unique=True
        )
    )
    spec: dict[str, Any] = {"endpointSelector": draw(picks(SELECTORS))}
    for section in sections:
        side, way = ("from", "ingress") if section.startswith("ingress") else ("to", "egress")
        spec[section] = [rule(side, way) for _ in range(draw(st.integers(1, 2)))]
    if draw(st.integers(0, 3)) == 0:
        spec["enableDefaultDeny"] = {"ingress": draw(st.booleans()), "egress": draw(st.booleans())}
    return document("cilium.io/v2", "CiliumNetworkPolicy", name, spec, draw(picks(["x", "y"])))


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [draw(draw(picks([kubernetes, admin, cilium]))(f"p{n}")) for n in range(draw(st.integers(1, 4)))]  # type: ignore[operator]


def numbered(world: World) -> tuple[World, dict[ObjectKey, IdentityNumber]]:
    numbers = {key: IdentityNumber(256 + n) for n, key in enumerate(sorted(world.endpoints))}
    identities = {number: labels_of(world.endpoints[key]) for key, number in numbers.items()}
    return replace(world, identities=identities), numbers


@settings(max_examples=150, deadline=None)
@given(documents=policies())
def test_tables_say_what_the_engine_says(
    world_documents: list[dict[str, Any]], documents: list[dict[str, Any]]
) -> None:
    world, numbers = numbered(
        read((str(n), d) for n, d in enumerate([*world_documents, *OUTSIDE_SERVICE, *documents])).world
    )
    tables, engine = compile_tables(world, world.endpoints), Engine(world)
    hosts = [ObjectKey("Node", cluster, "", name) for cluster, name in world.hosts]
    for subject in world.endpoints:
        for peer in (*world.endpoints, *hosts, *OUTSIDE):
            party = engine.party(peer)
            is_own_host = party.node == engine.party(subject).node and peer in hosts
            if peer == subject or is_own_host:
                continue  # neither meets the programs
            known = dict.fromkeys(OUTSIDE, WORLD) | dict.fromkeys(hosts, REMOTE_NODE) | numbers
            for own, address in product(engine.party(subject).addresses, party.addresses):
                if own.version != address.version:
                    continue
                row = peer_row(tables, known[peer], address)
                for (protocol, port), direction in product(QUESTIONS, Direction):
                    packet = Packet(
                        protocol=protocol_number(protocol),
                        source_port=40000,
                        destination_port=port,
                        icmp_type=8,
                    )
                    source, to = (address, own) if direction is Direction.INGRESS else (own, address)
                    asked = Probe(source=source, destination=to, protocol=protocol, destination_port=port)
                    decision = engine.decide(asked)
                    side = decision.ingress if direction is Direction.INGRESS else decision.egress
                    walked, rule = walk(tables, tables.subjects[subject], direction, row, packet)
                    assert walked == side.verdict, (asked, direction, side, tables.references.get(rule or 0))
    assert HOST not in tables.identity_rows
