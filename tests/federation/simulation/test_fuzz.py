"""Whatever a document is made into, it is read or refused with its source: never a traceback."""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InvalidInput
from federation.resources.codec import decode, encode
from federation.simulation.convert import convert
from federation.simulation.lint import findings
from federation.simulation.probes import Judge
from federation.simulation.reading import read
from federation.simulation.to_kubernetes import to_kubernetes

ROOT = Path(__file__).parents[3]
MORE = """
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: x}, spec: {selector: {pod: a}, ports: [{port: 80, targetPort: http, protocol: TCP}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x, labels: {pod: a}}, spec: {nodeName: n1, hostNetwork: false, serviceAccountName: r, containers: [{ports: [{name: http, containerPort: 80, protocol: TCP}]}]}, status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: e, namespace: x}, subsets: [{addresses: [{ip: 10.0.0.9}], ports: [{port: 80, protocol: TCP}]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: x, labels: {kubernetes.io/service-name: s}}, endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}], ports: [{port: 80, protocol: TCP}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: a}}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h, labels: {a: b}}, spec: {node: n1, interfaceName: '*', expectedIPs: [192.0.2.1], profiles: [p], ports: [{name: x, port: 1, protocol: TCP}]}}
---
{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: kns.x}, spec: {ingress: [{action: Allow, source: {selector: all()}}], egress: [{action: Allow}], labelsToApply: {a: b}}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {tier: default, order: 5, selector: all(), types: [Ingress], ingress: [{action: Deny, protocol: TCP, source: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16], selector: has(a), serviceAccounts: {names: [r], selector: all()}}, destination: {ports: [80, '1:9', http]}}, {action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}]}}
---
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: a}, spec: {priority: 5, subject: {pods: {namespaceSelector: {}, podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}}, egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}, {nodes: {}}], ports: [{portNumber: {port: 80}}, {portRange: {start: 1, end: 2}}, {namedPort: http}]}]}}
---
{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: c, namespace: x}, spec: {endpointSelector: {matchLabels: {pod: a}}, enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [{matchLabels: {'k8s:a': b}}], toPorts: [{ports: [{port: '80', endPort: 90, protocol: TCP}], rules: {http: [{method: GET}]}}]}], egressDeny: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}, {icmps: [{fields: [{type: 8, family: IPv4}]}]}, {toServices: [{k8sService: {serviceName: s, namespace: x}}]}]}}
---
{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: g}, spec: {externalCIDRs: [10.0.0.0/8]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n, namespace: x}, spec: {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {}}], ports: [{port: 80, endPort: 90, protocol: TCP}, {port: http}]}]}}
"""
SEEDS = [
    d
    for text in (MORE, *(p.read_text() for p in sorted((ROOT / "examples").rglob("*.yaml"))))
    for d in yaml.safe_load_all(text)
    if d
]
ODD = st.sampled_from(
    [None, "", "x", "a ==", 0, -1, 1, 70000, 2**70, 1.5, float("inf"), True, [], {}, [[]], [None], ["x"], {"x": 1}, {"": ""}, "10.0.0.0/33", "::/0", "fd00::1", "é", "²", "a/b", "on", "65535:1", "a" * 2000, "\x00"]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def broken(draw: st.DrawFn) -> list[Any]:
    documents = copy.deepcopy(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0, len(documents) - 1))
        path = draw(st.sampled_from(list(places(documents[n]))))
        if not path:
            documents[n] = copy.deepcopy(draw(ODD))
            continue
        target = documents[n]
        for key in path[:-1]:
            target = target[key]
        match draw(st.integers(0, 2)):
            case 0 if isinstance(target, dict):
                del target[path[-1]]
            case 1 if isinstance(target, dict):
                target[draw(st.sampled_from(["x", "spec", "from", "name", "labels", ""]))] = copy.deepcopy(
                    draw(ODD)
                )
            case _:
                target[path[-1]] = copy.deepcopy(draw(ODD))
    return documents


def read_or_refused(documents: list[Any]) -> tuple[Judge | None, list[str]]:
    """A judge, or the places of the faults."""
    try:
        return Judge(read((f"file, document {n}", d) for n, d in enumerate(documents))), []
    except InvalidInput as refused:
        return None, [fault.pointer for fault in refused.faults]


@settings(max_examples=600, deadline=None)
@given(broken())
def test_a_broken_document_is_refused_with_its_source_or_judged(documents: list[Any]) -> None:
    judge, pointers = read_or_refused(documents)
    assert all(pointer.startswith("file, document ") for pointer in pointers)
    assert judge or pointers
    if judge is None:
        return
    for source in judge.ends()[:3]:
        for to in (*judge.ends()[:3], "8.8.8.8", "fd00::8"):
            answer = judge.answer({"from": source, "to": to, "port": 80, "protocol": "TCP"}, has_trace=True)
            assert answer["verdict"] in ("Allow", "Deny")


@settings(max_examples=200, deadline=None)
@given(broken())
def test_what_can_be_read_can_be_linted_and_said_in_every_world(documents: list[Any]) -> None:
    judge, _ = read_or_refused(documents)
    if judge is None:
        return
    findings(judge.engine)
    for world in ("causeway", "calico"):
        assert yaml.safe_dump_all(convert(judge.simulation.world.policies, world)[0]) is not None
    assert yaml.safe_dump_all(to_kubernetes(judge.simulation.world)[0]) is not None


@settings(max_examples=400, deadline=None)
@given(broken())
def test_what_the_control_plane_takes_it_gives_back_the_same(documents: list[Any]) -> None:
    for document in documents:
        taken = None
        with contextlib.suppress(InvalidInput):
            taken = encode(decode(document))
        assert taken is None or encode(decode(json.loads(json.dumps(taken)))) == taken


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["from", "to", "port", "protocol", "icmp", "x"]),
        ODD | st.sampled_from(["x/a", "8.8.8.8", "host:n1", "TCP", "ICMP", "http", 80]),
    )
)
def test_a_broken_probe_is_an_error_of_that_probe(probe: dict[str, Any]) -> None:
    judge = Judge(read((str(n), d) for n, d in enumerate(SEEDS) if d.get("kind") in ("Pod", "Node")))
    with contextlib.suppress(InvalidInput):
        assert judge.answer(probe)["verdict"] in ("Allow", "Deny")
