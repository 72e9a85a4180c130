"""Kubernetes' NetworkPolicy field by field: absent, empty and null, types, ports, blocks, and what is refused."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput

Ask = Callable[..., str]
Asker = Callable[..., Ask]


def policy(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: x}}, spec: {spec}}}"


def ingress(rule: str) -> str:
    return policy(f"{{podSelector: {{}}, ingress: [{rule}]}}")


def from_(peer: str) -> str:
    return ingress(f"{{from: [{peer}]}}")


def ports(*listed: str) -> str:
    return ingress(f"{{ports: [{', '.join(listed)}]}}")


def verdicts(said: Ask, *asked: tuple[int | None, str]) -> str:
    return "".join(said("y/a", "x/a", *each)[0] for each in asked)


@pytest.mark.parametrize(
    "spec",
    ["{}", "{podSelector: null}", "{podSelector: {}, policyTypes: []}", "{podSelector: {matchLabels: {}}}"],
)
def test_a_policy_without_a_selector_is_of_all_pods_of_its_namespace(ask: Asker, spec: str) -> None:
    said = ask(policy(spec))
    assert [said("y/a", "x/a"), said("x/a", "y/a")] == ["Deny", "Allow"]


@pytest.mark.parametrize(
    ("spec", "inwards", "outwards"),
    [
        ("{policyTypes: [Ingress]}", "Deny", "Allow"), ("{policyTypes: [Egress]}", "Allow", "Deny"), ("{policyTypes: [Ingress, Egress]}", "Deny", "Deny"),
        ("{egress: []}", "Deny", "Allow"), ("{egress: [{}]}", "Deny", "Allow"), ("{egress: [{to: [{podSelector: {}}]}]}", "Deny", "Deny"),
        ("{policyTypes: [Egress], ingress: [{}]}", "Allow", "Deny"), ("{policyTypes: [Egress], ingress: []}", "Allow", "Deny"),
        ("{policyTypes: [Ingress], egress: [{to: [{podSelector: {}}]}]}", "Deny", "Allow"), ("{policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}", "Allow", "Allow"),
        ("{policyTypes: [Ingress, Egress], egress: [{}]}", "Deny", "Allow"),
    ],
)  # fmt: skip
def test_types_say_which_directions_a_policy_isolates(
    ask: Asker, spec: str, inwards: str, outwards: str
) -> None:
    said = ask(policy(spec))
    assert (said("y/a", "x/a"), said("x/a", "y/a")) == (inwards, outwards)


@pytest.mark.parametrize(
    "rule",
    ["{}", "null", "{from: []}", "{from: null}", "{ports: []}", "{ports: null}", "{from: [], ports: []}"],
)
def test_a_rule_without_peers_and_ports_lets_everything_in(ask: Asker, rule: str) -> None:
    said = ask(ingress(rule))
    assert verdicts(said, (80, "TCP"), (1, "UDP"), (9, "SCTP"), (None, "ICMP")) == "AAAA"
    assert [said(source, "x/a") for source in ("8.8.8.8", "host:n2", "2001:db8::8")] == ["Allow"] * 3


def test_rules_are_alternatives_and_peers_and_ports_of_one_must_both_hold(ask: Asker) -> None:
    said = ask(ingress("{from: [{podSelector: {}}], ports: [{port: 81}]}, {ports: [{port: 82}]}"))
    asked = [("x/b", 81), ("y/a", 81), ("y/a", 82), ("x/b", 80)]
    assert [said(source, "x/a", port)[0] for source, port in asked] == ["A", "D", "A", "D"]


@pytest.mark.parametrize(
    ("peer", "who"),
    [
        ("{namespaceSelector: {}}", "AADDD"), ("{podSelector: {}}", "ADDDD"), ("{podSelector: {}, namespaceSelector: null}", "ADDDD"),
        ("{podSelector: null, namespaceSelector: {}}", "AADDD"), ("{podSelector: {}, namespaceSelector: {}}", "AADDD"),
        ("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}", "DADDD"),
        ("{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}", "DDDDD"),
        ("{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}", "DADDD"),
        ("{ipBlock: {cidr: 0.0.0.0/0}}", "AAAAD"), ("{ipBlock: {cidr: '::/0'}}", "DDDDA"), ("{ipBlock: {cidr: 8.8.8.9/24}}", "DDDAD"),
        ("{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}", "DDAAD"), ("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/16, 10.0.0.0/24]}}", "DDDDD"),
        ("{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.1.0/24, 10.0.0.0/16]}}", "DDAAD"),
    ],
)  # fmt: skip
def test_whom_a_peer_means(ask: Asker, peer: str, who: str) -> None:
    said = ask(from_(peer))
    assert "".join(said(s, "x/a")[0] for s in ("x/b", "y/b", "host:n2", "8.8.8.8", "2001:db8::8")) == who


def test_an_exception_of_one_peer_is_no_exception_of_another(ask: Asker) -> None:
    said = ask(
        from_(
            "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.1.0/24]}}, {namespaceSelector: {matchLabels: {ns: y}}}"
        )
    )
    assert said("y/a", "x/a") == "Allow"


@pytest.mark.parametrize(
    ("port", "who"),
    [
        ("{}", "AADDD"), ("{protocol: TCP}", "AADDD"), ("{protocol: UDP}", "DDADD"), ("{protocol: SCTP}", "DDDAD"), ("{port: 80}", "ADDDD"),
        ("{port: 80, protocol: UDP}", "DDADD"), ("{port: http}", "ADDDD"), ("{port: http, protocol: UDP}", "DDDDD"), ("{port: dns}", "DDDDD"),
        ("{port: 80, endPort: 81}", "AADDD"), ("{port: 80, endPort: 80}", "ADDDD"), ("{port: 1, endPort: 79}", "DDDDD"),
        ("{port: 80, endPort: 65535, protocol: SCTP}", "DDDAD"), ("{port: 80, endPort: null}", "ADDDD"),
    ],
)  # fmt: skip
def test_what_a_port_means(ask: Asker, port: str, who: str) -> None:
    said = ask(ports(port))
    assert verdicts(said, (80, "TCP"), (81, "TCP"), (80, "UDP"), (80, "SCTP"), (None, "ICMP")) == who


def test_a_named_port_outwards_is_the_destination_pods_own(ask: Asker) -> None:
    other = "{apiVersion: v1, kind: Pod, metadata: {name: o, namespace: x}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.0.0.9}}"
    said = ask(
        other,
        policy(
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"
        ),
    )
    assert [said("x/a", *each)[0] for each in (("x/o", 8080), ("x/o", 80), ("x/b", 80), ("8.8.8.8", 80))] == [
        "A",
        "D",
        "A",
        "D",
    ]


def test_egress_and_ingress_must_both_allow(ask: Asker) -> None:
    out = policy(
        "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
        "out",
    )
    into = policy("{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{port: 81}]}]}", "into")
    assert [ask(out)("x/a", "x/b"), ask(out, into)("x/a", "x/b"), ask(out, into)("x/a", "x/b", 81)] == [
        "Allow",
        "Deny",
        "Allow",
    ]


def test_policies_that_isolate_in_one_direction_leave_the_other(ask: Asker) -> None:
    said = ask(
        policy("{podSelector: {}, policyTypes: [Egress]}", "a"),
        policy("{podSelector: {}, egress: [{}], policyTypes: [Egress]}", "b"),
    )
    assert [said("x/a", "8.8.8.8"), said("8.8.8.8", "x/a")] == ["Allow", "Allow"]


def test_what_a_pod_sends_to_a_host_is_policed_and_what_its_own_sends_comes_in(ask: Asker) -> None:
    said = ask(policy("{podSelector: {}, policyTypes: [Ingress, Egress]}"))
    assert [said("x/a", to) for to in ("host:n1", "host:n2", "y/h")] == ["Deny", "Deny", "Deny"]
    assert [said(source, "x/a") for source in ("host:n1", "host:n2", "y/h")] == ["Allow", "Deny", "Deny"]
    assert said("y/h", "x/b") == "Allow"
    said = ask(
        policy(
            "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.168.0.2/32}}]}]}"
        )
    )
    assert [said("x/a", to) for to in ("host:n2", "y/h", "host:n1")] == ["Allow", "Allow", "Deny"]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (from_("{}"), "/spec/ingress/0/from/0"),
        (from_("null"), "/spec/ingress/0/from/0"),
        (from_("{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}"), "/spec/ingress/0/from/0/ipBlock"),
        (from_("{ipBlock: {cidr: 10.0.0.1}}"), "/spec/ingress/0/from/0/ipBlock/cidr"),
        (from_("{ipBlock: {cidr: 10.0.0.0/33}}"), "/spec/ingress/0/from/0/ipBlock/cidr"),
        (from_("{ipBlock: {cidr: 10.0.0.0/255.0.0.0}}"), "/spec/ingress/0/from/0/ipBlock/cidr"),
        (from_("{ipBlock: {cidr: 'fe80::1%eth0/64'}}"), "/spec/ingress/0/from/0/ipBlock/cidr"),
        (from_("{ipBlock: {}}"), "/spec/ingress/0/from/0/ipBlock/cidr"),
        (from_("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}"), "/spec/ingress/0/from/0/ipBlock/except/0"),
        (from_("{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}"), "/spec/ingress/0/from/0/ipBlock/except/0"),
        (from_("{ipBlock: {cidr: 10.0.0.0/8, except: ['::/1']}}"), "/spec/ingress/0/from/0/ipBlock/except/0"),
        (from_("{podSelector: {matchExpressions: [{key: a, operator: In, values: []}]}}"), "/spec/ingress/0/from/0/podSelector/matchExpressions/0/values"),
        (from_("{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}"), "/spec/ingress/0/from/0/podSelector/matchExpressions/0/values"),
        (from_("{podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}"), "/spec/ingress/0/from/0/podSelector/matchExpressions/0/operator"),
        (ports("{port: 0}"), "/spec/ingress/0/ports/0/port"),
        (ports("{port: 65536}"), "/spec/ingress/0/ports/0/port"),
        (ports("{port: '80'}"), "/spec/ingress/0/ports/0/port"),
        (ports("{port: Http}"), "/spec/ingress/0/ports/0/port"),
        (ports("{port: 90, endPort: 80}"), "/spec/ingress/0/ports/0/endPort"),
        (ports("{port: http, endPort: 80}"), "/spec/ingress/0/ports/0/endPort"),
        (ports("{endPort: 80}"), "/spec/ingress/0/ports/0/endPort"),
        (ports("{port: 80, protocol: tcp}"), "/spec/ingress/0/ports/0/protocol"),
        (ports("{port: 80, protocol: ICMP}"), "/spec/ingress/0/ports/0/protocol"),
        (policy("{policyTypes: [ingress]}"), "/spec/policyTypes/0"),
        (ingress("{to: [{podSelector: {}}]}"), "/spec/ingress/0/to"),
        (policy("{podSelector: {matchLabels: {'a b': c}}}"), "/spec/podSelector/matchLabels/a b"),
        (policy("{podSelector: []}"), "/spec/podSelector"),
    ],
)  # fmt: skip
def test_what_the_api_refuses_is_refused_with_its_pointer(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert [f.pointer.split(": ")[-1] for f in caught.value.faults] == [pointer]
