"""Converted policies judge as the ones that they were made of; where they cannot, that is said, and they are narrower."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.simulation.convert import convert
from federation.simulation.probes import Judge
from federation.simulation.reading import read
from federation.simulation.to_kubernetes import to_kubernetes

JudgeOf = Callable[..., Judge]


def k8s(
    spec: str, kind: str = "NetworkPolicy", group: str = "networking.k8s.io/v1", where: str = ", namespace: x"
) -> str:
    return f"{{apiVersion: {group}, kind: {kind}, metadata: {{name: p{where}}}, spec: {spec}}}"


def cilium(spec: str) -> str:
    return k8s(spec, "CiliumNetworkPolicy", "cilium.io/v2")


def admin(spec: str) -> str:
    return k8s(spec, "AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", "")


SAYABLE = [
    k8s("{podSelector: {}}"),
    k8s("{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}], ports: [{port: http}, {port: 53, protocol: UDP}]}]}"),
    k8s("{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {tenant: blue}}, podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}]}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.0/24]}}]}, {to: [{namespaceSelector: {}}], ports: [{port: 80, endPort: 90}]}]}"),
    admin("{priority: 5, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: [{action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}}]}, {action: Deny, from: [{namespaces: {}}]}], egress: [{action: Allow, to: [{networks: [10.0.0.0/8]}]}]}"),
    cilium("{endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{}]}], ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]}"),
    "{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: p, namespace: y}, spec: {order: 3, serviceAccountSelector: kind == 'machine', ingress: [{action: Deny, protocol: ICMP, icmp: {type: 8}}, {action: Allow, source: {notSelector: pod == 'b', notNets: [10.0.0.0/24]}}], egress: [{action: Allow, destination: {services: {name: s, namespace: y}}}]}}",
    "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}, spec: {selector: 'pod in {\"a\", \"b\"}', ingress: [{action: Allow, source: {notSelector: has(zz)}}]}}",
]  # fmt: skip
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: y}, spec: {selector: {pod: a}, ports: [{port: 80}]}}"
ENDS = ["x/a", "x/b", "y/a", "y/b", "8.8.8.8", "10.0.9.9", "host:n2"]


def verdicts(judge: Judge) -> dict[Any, str]:
    return {
        (source, to, port, protocol): judge.answer({"from": source, "to": to, "port": port, "protocol": protocol})["verdict"]
        for source in ENDS for to in ENDS for port, protocol in ((80, "TCP"), (443, "TCP"), (53, "UDP"), (0, "ICMP"))
    }  # fmt: skip


@pytest.mark.parametrize("text", SAYABLE)
def test_what_can_be_said_in_calicos_words_judges_the_same(judge_of: JudgeOf, text: str) -> None:
    original = judge_of(text, SERVICE)
    documents, unsaid = convert(original.engine.world.policies, "calico")
    assert unsaid == []
    again = judge_of("---\n".join(yaml.safe_dump(d) for d in documents), SERVICE)
    assert verdicts(again) == verdicts(original)


@pytest.mark.parametrize("text", [SAYABLE[1], SAYABLE[2], SAYABLE[4], SAYABLE[5]])
def test_and_so_in_our_own_for_policies_of_a_namespace(judge_of: JudgeOf, text: str) -> None:
    original = judge_of(text, SERVICE)
    documents, unsaid = convert(original.engine.world.policies, "causeway")
    assert unsaid == []
    assert {d["apiVersion"] for d in documents} == {"causeway.dev/v1"}
    assert verdicts(judge_of("---\n".join(yaml.safe_dump(d) for d in documents), SERVICE)) == verdicts(
        original
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (cilium("{endpointSelector: {}, egress: [{toCIDR: [10.0.0.0/8]}, {toEndpoints: [{}]}]}"), "nobody's"),
        (cilium("{endpointSelector: {}, ingress: [{fromEntities: [host]}]}"), "hosts"),
        (cilium("{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}], enableDefaultDeny: {ingress: false}}"), "does not isolate"),
        (cilium("{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: '80'}], rules: {http: [{}]}}]}]}"), "rules.http"),
        (admin("{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}"), "hosts"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_named_and_nothing_gets_wider_but_by_a_policy_that_is_left_out(
    judge_of: JudgeOf, text: str, why: str
) -> None:
    original = judge_of(text)
    documents, unsaid = convert(original.engine.world.policies, "calico")
    assert any(why in each.why for each in unsaid)
    assert all(each.policy.name == "p" for each in unsaid)
    if any("policy is left out" in each.why for each in unsaid):
        assert not [d for d in documents if d["kind"] != "Tier"]
        return
    again = verdicts(judge_of("---\n".join(yaml.safe_dump(d) for d in documents)))
    before = verdicts(original)
    assert not [cell for cell, verdict in again.items() if verdict == "Allow" and before[cell] == "Deny"]


def test_converting_to_the_world_it_came_from_changes_no_verdict_of_the_examples(judge_of: JudgeOf) -> None:
    text = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}, spec: {namespaceSelector: ns == 'x', types: [Egress]}}"
    documents, unsaid = convert(judge_of(text).engine.world.policies, "calico")
    assert unsaid == []
    assert (
        read([("converted", documents[0])]).world.policies[0].isolates
        == judge_of(text).engine.world.policies[0].isolates
    )


CALICO = "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: p{where}}}, spec: {spec}}}"
TO_KUBERNETES = [
    SAYABLE[0], SAYABLE[1], SAYABLE[2],
    admin("{priority: 5, subject: {namespaces: {matchLabels: {ns: x}}}, ingress: [{action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}}]}, {action: Deny, from: [{namespaces: {}}]}], egress: [{action: Allow, to: [{networks: [10.0.0.0/8]}, {nodes: {matchLabels: {zone: b}}}], ports: [{portNumber: {port: 80}}, {namedPort: dns}]}]}"),
    cilium("{endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: '80', endPort: 90, protocol: TCP}]}]}]}"),
    CALICO.format(kind="NetworkPolicy", where=", namespace: x", spec="{selector: 'pod in {\"a\", \"b\"} && !has(zz)', ingress: [{action: Allow, protocol: TCP, source: {selector: pod == 'b'}, destination: {notPorts: [443]}}, {action: Allow, source: {nets: [10.0.0.0/16], notNets: [10.0.1.0/24, 10.0.9.9/32]}}]}"),
    CALICO.format(kind="GlobalNetworkPolicy", where="", spec="{namespaceSelector: projectcalico.org/name == 'x', types: [Ingress, Egress], egress: [{action: Allow, protocol: UDP, destination: {ports: [dns]}}, {action: Allow, ipVersion: 4, protocol: TCP}]}"),
]  # fmt: skip


@pytest.mark.parametrize("text", TO_KUBERNETES)
def test_what_can_be_said_in_kubernetes_words_judges_the_same(judge_of: JudgeOf, text: str) -> None:
    original = judge_of(text)
    documents, unsaid = to_kubernetes(original.engine.world)
    assert unsaid == []
    assert {d["kind"] for d in documents} <= {"NetworkPolicy", "ClusterNetworkPolicy"}
    assert verdicts(judge_of("---\n".join(yaml.safe_dump(d) for d in documents))) == verdicts(original)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("{ingress: [{action: Deny}]}", "is a Deny"),
        ("{tier: t, ingress: [{action: Allow}]}", "tier t"),
        ("{ingress: [{action: Allow, protocol: ICMP}]}", "protocol"),
        ("{ingress: [{action: Allow, source: {serviceAccounts: {names: [robot]}}}]}", "service accounts"),
        ("{ingress: [{action: Allow, source: {selector: pod == 'a' || pod == 'b'}}]}", "more than labels"),
        ("{ingress: [{action: Allow, source: {selector: pod == 'a', nets: [10.0.0.0/8]}}]}", "beside labels"),
        ("{egress: [{action: Allow, protocol: TCP, source: {ports: [80]}}]}", "source ports"),
        ("{egress: [{action: Allow, destination: {domains: [a.example]}}]}", "domains"),
        ("{ingress: [{action: Log}]}", "Log"),
    ],
)
def test_what_kubernetes_cannot_say_is_named_and_no_rule_gets_wider(
    judge_of: JudgeOf, spec: str, why: str
) -> None:
    original = judge_of(CALICO.format(kind="NetworkPolicy", where=", namespace: x", spec=spec))
    documents, unsaid = to_kubernetes(original.engine.world)
    assert len(unsaid) == 1
    assert why in unsaid[0].why
    if "policy is left out" in unsaid[0].why:
        assert documents == []
        return
    again, before = verdicts(judge_of("---\n".join(yaml.safe_dump(d) for d in documents))), verdicts(original)
    assert not [cell for cell, verdict in again.items() if verdict == "Allow" and before[cell] == "Deny"]
