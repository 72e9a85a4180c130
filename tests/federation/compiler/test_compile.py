"""The compiled tables, walked, say what the reference engine says: on random worlds, for every pair."""

import random
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.compiler import compile_tables
from federation.identities import WORLD as OUTSIDE
from federation.identities import IdentityNumber
from federation.policy.evaluate import Engine
from federation.policy.parties import Probe, labels_of, protocol_number
from federation.policy.tables import Direction, Verdict
from federation.policy.walk import Packet, peer_row, walk
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
    "causeway.dev/cluster == 'dc1'",
]
NETS = {
    4: ["10.10.0.0/16", "10.20.1.0/24", "10.10.1.3/32", "203.0.113.0/24", "0.0.0.0/0"],
    6: ["fd00:10::/32", "fd00:20:0:1::/64", "fd00:10:0:1::3/128", "2001:db8::/32", "::/0"],
}
WORLD_ADDRESS = IPv4Address("203.0.113.7")
WORLD_ADDRESSES = (WORLD_ADDRESS, IPv6Address("2001:db8::7"))
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
        for direction in ("ingress", "egress"):
            spec[direction] = draw(st.lists(rules(), max_size=3))
        kind = draw(picks(["GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy"]))
        meta: dict[str, Any] = {"namespace": draw(picks(["shop", "pay"]))} if kind == "NetworkPolicy" else {}
        if meta and draw(st.booleans()):
            meta["cluster"] = "dc1"
        documents.append(document(kind, f"p{n}", spec, **meta))
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
    return world_of([*resources, *identities]), of_endpoint


def walked(world: World, tables: Any, numbers: dict[Any, IdentityNumber], probe: Probe) -> Verdict:
    packet = Packet(
        protocol=protocol_number(probe.protocol), source_port=probe.source_port, destination_port=probe.destination_port,
        icmp_type=probe.icmp_type, icmp_code=probe.icmp_code,
    )  # fmt: skip
    verdicts = [Verdict.ALLOW]
    owners = {address: key for key, e in world.endpoints.items() for address in e.spec.addresses}
    for own, peer, direction in (
        (probe.source, probe.destination, Direction.EGRESS), (probe.destination, probe.source, Direction.INGRESS),
    ):  # fmt: skip
        subject = owners.get(own)
        if subject is None:
            continue
        row = peer_row(tables, numbers[owners[peer]] if peer in owners else OUTSIDE, peer)
        verdicts.append(walk(tables, tables.subjects[subject], direction, row, packet)[0])
    return min(verdicts)


@settings(max_examples=120, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_tables_say_what_the_reference_engine_says(
    documents: list[dict[str, Any]], rng: random.Random
) -> None:
    world, numbers = numbered(documents)
    tables = compile_tables(world, world.endpoints)
    engine = Engine(world)
    ends = [*(address for e in world.endpoints.values() for address in e.spec.addresses), *WORLD_ADDRESSES]
    for source in ends:
        for destination in ends:
            if source.version != destination.version:
                continue
            for protocol, port in (
                ("TCP", 80),
                ("TCP", 8080),
                ("UDP", 53),
                (58 if source.version == 6 else 1, 0),
                ("SCTP", 9),
            ):
                probe = Probe(
                    source=source, destination=destination, protocol=protocol, destination_port=port,
                    source_port=rng.choice([80, 40000]), icmp_type=rng.choice([8, 128]), icmp_code=rng.choice([0, 1]),
                )  # fmt: skip
                assert walked(world, tables, numbers, probe) == engine.decide(probe).verdict, probe


@settings(max_examples=40, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_tables_do_not_depend_on_the_order_of_the_world(
    documents: list[dict[str, Any]], rng: random.Random
) -> None:
    world, _ = numbered(documents)
    policies, sets = list(world.policies), list(world.network_sets)
    rng.shuffle(policies)
    rng.shuffle(sets)
    shuffled = World(
        tiers=dict(reversed(world.tiers.items())), policies=tuple(policies), network_sets=tuple(sets),
        identities=dict(reversed(world.identities.items())), endpoints=dict(reversed(world.endpoints.items())),
    )  # fmt: skip
    assert compile_tables(shuffled, world.endpoints) == compile_tables(world, world.endpoints)
