"""Calico's host endpoints in random worlds: the simulator and the walk over their lists say what the reference evaluator says."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.federation.reference.comparing import WORLDS, disagreement_on_hosts
from tests.federation.reference.ends import CLUSTER
from tests.federation.reference.grounds import Document, document, grounds, picks
from tests.federation.reference.test_calico import V3, named, rules, sets

SELECTORS = [
    "all()",
    "all()",
    "all()",
    "app == 'web'",
    "has(app)",
    "role == 'dns'",
    "!has(projectcalico.org/namespace)",
]
STAGES = [
    {},
    {"applyOnForward": True},
    {"applyOnForward": True},
    {"applyOnForward": True, "doNotTrack": True},
    {"applyOnForward": True, "preDNAT": True},
]
PORTS = [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}]


@st.composite
def policies(draw: st.DrawFn) -> Document:
    """Of every stage, most for everybody."""
    spec: dict[str, Any] = {
        "selector": draw(picks(SELECTORS)),
        "tier": draw(picks(["default", "first"])),
        **draw(picks(STAGES)),
    }
    for way in (
        ["ingress"] if "preDNAT" in spec else draw(picks([["ingress"], ["egress"], ["ingress", "egress"]]))
    ):
        spec[way] = draw(st.lists(rules(way), min_size=1, max_size=2))
    return document(V3, "GlobalNetworkPolicy", draw(picks(["a", "b", "c"])), spec)


@st.composite
def host_endpoints(draw: st.DrawFn, node: Document) -> Document:
    """One for all interfaces. A host that names ports expects all its addresses."""
    addresses = [each["address"] for each in node["status"]["addresses"]]
    ports = draw(picks([[], PORTS]))
    meta = node["metadata"]
    labels = {"app": draw(picks(["web", "db"]))} | {k: v for k, v in meta["labels"].items() if k == CLUSTER}
    spec = {
        "node": meta["name"],
        "interfaceName": "*",
        "ports": ports,
        "expectedIPs": addresses if ports else draw(picks([addresses, addresses[:1], []])),
        "profiles": draw(
            st.lists(picks(["base", "projectcalico-default-allow", "gone"]), max_size=2, unique=True)
        ),
    }
    return document(V3, "HostEndpoint", f"h-{addresses[0]}", spec, labels=labels)


@st.composite
def worlds(draw: st.DrawFn) -> list[Document]:
    ground = draw(grounds())
    nodes = [each for each in ground if each["kind"] == "Node"]
    policed = draw(st.lists(picks(nodes), min_size=1, unique_by=lambda each: str(each["status"])))
    profile = {way: draw(st.lists(rules(way), max_size=2)) for way in ("ingress", "egress")}
    profile |= draw(picks([{}, {"labelsToApply": {"role": "dns", "app": "none"}}]))
    return [
        *ground,
        document(V3, "Tier", "first", {"order": 1, "defaultAction": draw(picks(["Deny", "Pass"]))}),
        *[draw(host_endpoints(node)) for node in policed],
        *draw(picks([[], [document(V3, "Profile", "base", profile)]])),
        *(draw(sets(n)) for n in range(draw(picks([0, 1])))),
        *named(draw(st.lists(policies(), min_size=1, max_size=3))),
    ]


@settings(WORLDS, max_examples=WORLDS.max_examples // 2)
@given(documents=worlds())
def test_host_endpoints_mean_what_the_reference_says(documents: list[Document]) -> None:
    assert disagreement_on_hosts(documents) == ""
