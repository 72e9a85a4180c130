"""What of Cilium's policies is refused, and where it says so."""

from collections.abc import Callable

import pytest

from federation.errors import InvalidInput
from tests.federation.simulation.test_cilium_rules import ccnp, cnp, egress, ingress, ports

Asker = Callable[..., Callable[..., str]]
TCP = "{port: '80', protocol: TCP}"


def deny(rule: str) -> str:
    return ingress(rule, "ingressDeny")


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (deny(f"{{toPorts: [{{ports: [{TCP}], serverNames: [a]}}]}}"), "/spec/ingressDeny/0/toPorts/0/serverNames"),
        (deny(f"{{toPorts: [{{ports: [{TCP}], listener: {{name: l}}}}]}}"), "/spec/ingressDeny/0/toPorts/0/listener"),
        (deny("{fromEndpoints: [{}], authentication: {mode: required}}"), "/spec/ingressDeny/0"),
        (cnp("{endpointSelector: {}, egressDeny: [{toFQDNs: [{matchName: a}]}]}"), "/spec/egressDeny/0"),
        (ingress(f"{{toPorts: [{{ports: [{TCP}], rules: 5}}]}}"), "/spec/ingress/0/toPorts/0/rules"),
        (ingress(f"{{toPorts: [{{ports: [{TCP}], rules: {{htttp: [{{}}]}}}}]}}"), "/spec/ingress/0/toPorts/0/rules/htttp"),
        (ingress(f"{{toPorts: [{{ports: [{TCP}], rules: {{dns: [{{matchPattern: '*'}}]}}}}]}}"), "/spec/ingress/0/toPorts/0/rules/dns"),
        (ingress(f"{{toPorts: [{{ports: [{TCP}], rules: {{http: [{{}}], kafka: [{{}}]}}}}]}}"), "/spec/ingress/0/toPorts/0/rules"),
        (ingress(f"{{{ports('{port: -1}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/port"),
        (ingress(f"{{{ports('{port: 65536}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/port"),
        (ingress(f"{{{ports('{port: much-too-long-a-name}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/port"),
        (ingress(f"{{{ports('{port: http, endPort: 90}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/endPort"),
        (ingress(f"{{{ports('{port: 0, endPort: 90}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/endPort"),
        (ingress(f"{{{ports('{port: 80, protocol: ICMP}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/protocol"),
        (ingress(f"{{{ports('{port: 80, protocol: GRE}')}}}"), "/spec/ingress/0/toPorts/0/ports/0/port"),
        (ingress(f"{{{ports(*['{port: 1}'] * 41)}}}"), "/spec/ingress/0/toPorts/0/ports"),
        (ingress(f"{{icmps: [{{fields: [{{type: 8}}]}}], {ports('{port: 1}')}}}"), "/spec/ingress/0/icmps"),
        (ingress("{icmps: [{fields: [{type: PacketTooBig, family: IPv4}]}]}"), "/spec/ingress/0/icmps/0/fields/0/type"),
        (ingress("{fromEndpoints: [{}], authentication: {mode: perhaps}}"), "/spec/ingress/0/authentication/mode"),
        (egress("{toRequires: [{}]}"), "/spec/egress/0/toRequires"),
        (egress("{toFQDNs: [{matchName: a, matchPattern: b}]}"), "/spec/egress/0/toFQDNs/0"),
        (egress("{toFQDNs: [{}]}"), "/spec/egress/0/toFQDNs/0"),
        (egress("{toServices: [{}]}"), "/spec/egress/0/toServices/0"),
        (egress("{toCIDR: [10.0.0.0/255.0.0.0]}"), "/spec/egress/0/toCIDR/0"),
        (egress("{toEntities: [cluster, Cluster]}"), "/spec/egress/0/toEntities/1"),
        (cnp("{endpointSelector: {}, ingress: []}"), "/spec"),
        (ccnp("{nodeSelector: {}, endpointSelector: {}, ingress: [{}]}"), "/spec"),
        (cnp("{endpointSelector: {}, ingress: [{}], requires: []}"), "/spec/requires"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_pointer(ask: Asker, text: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(text)
    assert [f.pointer.split(": ")[-1] for f in caught.value.faults] == [pointer]


def test_specs_that_are_no_list_are_refused_even_beside_a_spec(ask: Asker) -> None:
    with pytest.raises(InvalidInput):
        ask(cnp("{endpointSelector: {}, ingress: [{}]}, specs: 5"))
