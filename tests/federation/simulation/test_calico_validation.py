"""What Calico's API refuses is refused, by its JSON pointer; what it takes is taken."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.errors import InvalidInput

Ask = Callable[..., Any]
INGRESS = "/spec/ingress/0"


def document(kind: str, spec: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": "p", **meta}, "spec": spec or {},
    }  # fmt: skip


def gnp(**spec: Any) -> dict[str, Any]:
    return document("GlobalNetworkPolicy", spec)


def np(**spec: Any) -> dict[str, Any]:
    return document("NetworkPolicy", spec, namespace="x")


def rule(action: str = "Allow", **fields: Any) -> dict[str, Any]:
    return gnp(ingress=[{"action": action, **fields}])


def tcp(**entity: Any) -> dict[str, Any]:
    return rule(protocol="TCP", destination=entity)


def source(**entity: Any) -> dict[str, Any]:
    return rule(source=entity)


def tier(name: str, **spec: Any) -> dict[str, Any]:
    return document("Tier", spec, name=name)


def hep(**spec: Any) -> dict[str, Any]:
    return document("HostEndpoint", {"node": "n1", "interfaceName": "*", **spec})


def port(**fields: Any) -> dict[str, Any]:
    return hep(ports=[{"name": "http", "protocol": "TCP", "port": 80, **fields}])


NAMESPACE = {"projectcalico.org/namespace": "x"}
SERVICE = {"name": "s", "namespace": "y"}
HTTP = {"protocol": "TCP", "http": {"methods": ["GET"]}}
MANY = [f"{n // 256}.{n % 256}.0.0/16" for n in range(512, 512 + 257)]

REFUSED = [
    # tiers
    (tier("a.b"), "/metadata/name"), (tier("a" * 64), "/metadata/name"), (tier("a", order=float("inf")), "/spec/order"),
    (tier("a", defaultAction="Allow"), "/spec/defaultAction"),
    (tier("default", order=5), "/spec/order"), (tier("default"), "/spec/order"),
    (tier("default", order=1_000_000, defaultAction="Pass"), "/spec/defaultAction"),
    (tier("kube-admin", order=1_000), "/spec/defaultAction"), (tier("kube-admin", order=1, defaultAction="Pass"), "/spec/order"),
    (tier("kube-baseline", order=10_000_000, defaultAction="Deny"), "/spec/defaultAction"),
    (tier("kube-baseline", order=1_000, defaultAction="Pass"), "/spec/order"),
    # names and metadata
    (document("GlobalNetworkPolicy", name="a.b.c"), "/metadata/name"), (document("GlobalNetworkPolicy", name="a" * 254), "/metadata/name"),
    (document("GlobalNetworkPolicy", name="knp.default.a"), "/metadata/name"), (document("GlobalNetworkPolicy", name="a."), "/metadata/name"),
    (document("NetworkPolicy", name="a.b.c", namespace="x"), "/metadata/name"), (document("NetworkPolicy", name="a..b", namespace="x"), "/metadata/name"),
    (document("GlobalNetworkPolicy", annotations={"a b": "c"}), "/metadata/annotations/a b"),
    (document("Tier", annotations={"a": "x" * 262_144}), "/metadata/annotations"),
    (document("GlobalNetworkSet", {"nets": []}, labels=NAMESPACE), "/metadata/labels/projectcalico.org~1namespace"),
    (document("NetworkSet", {"nets": []}, namespace="x", labels=NAMESPACE), "/metadata/labels/projectcalico.org~1namespace"),
    (document("GlobalNetworkSet", {"nets": ["10.0.0.1/8"]}), "/spec/nets/0"), (document("GlobalNetworkSet", {"nets": ["ten"]}), "/spec/nets/0"),
    # the policy
    (gnp(tier="a.b"), "/spec/tier"), (gnp(order=float("nan")), "/spec/order"), (gnp(order="5"), "/spec/order"),
    (gnp(types=["Ingress", "Ingress"]), "/spec/types/1"), (gnp(types=["ingress"]), "/spec/types/0"),
    (gnp(selector="global()"), "/spec/selector"), (gnp(namespaceSelector="global()"), "/spec/namespaceSelector"),
    (gnp(serviceAccountSelector="has(a) && global()"), "/spec/serviceAccountSelector"), (np(selector="global()"), "/spec/selector"),
    (gnp(selector="a == '" + "x" * 1020 + "'"), "/spec/selector"), (gnp(selector="a\n== 'x'"), "/spec/selector"),
    (np(namespaceSelector="all()"), "/spec/namespaceSelector"), (np(doNotTrack=True, applyOnForward=True), "/spec"),
    (gnp(performanceHints=["Faster"]), "/spec/performanceHints/0"),
    (gnp(performanceHints=["AssumeNeededOnEveryNode"] * 2), "/spec/performanceHints/1"),
    (gnp(preDNAT=True, applyOnForward=True, types=["Egress"]), "/spec/egress"),
    (gnp(preDNAT=True, applyOnForward=True, types=["Ingress"], egress=[{"action": "Allow"}]), "/spec/egress"),
    (gnp(preDNAT=True), "/spec/applyOnForward"), (gnp(stagedAction="Set"), "/spec/stagedAction"),
    (document("StagedGlobalNetworkPolicy", {"stagedAction": "Maybe"}), "/spec/stagedAction"),
    (document("StagedGlobalNetworkPolicy", {"stagedAction": "Delete", "order": 5}), "/spec"),
    (document("StagedGlobalNetworkPolicy", {"stagedAction": "Delete", "types": ["Ingress"]}), "/spec"),
    (gnp(egress=[{"action": "Allow"}] * 1025), "/spec/egress"),
    # a rule
    ({**gnp(), "spec": {"ingress": [{}]}}, f"{INGRESS}/action"), (rule("allow"), f"{INGRESS}/action"), (rule(ipVersion=5), f"{INGRESS}/ipVersion"),
    (rule(protocol=0), f"{INGRESS}/protocol"), (rule(protocol=256), f"{INGRESS}/protocol"), (rule(notProtocol="any"), f"{INGRESS}/notProtocol"),
    (rule(protocol="²"), f"{INGRESS}/protocol"),
    (rule(icmp={"type": 8}), f"{INGRESS}/protocol"), (rule(protocol="UDP", icmp={"type": 8}), f"{INGRESS}/protocol"),
    (rule(protocol="ICMP", icmp={"code": 1}), f"{INGRESS}/icmp/type"), (rule(protocol="ICMP", icmp={"type": 255}), f"{INGRESS}/icmp/type"),
    (rule(protocol=1, notICMP={"type": 3, "code": 256}), f"{INGRESS}/notICMP/code"), (rule(protocol="ICMP", icmp={"type": -1}), f"{INGRESS}/icmp/type"),
    (rule(protocol="ICMPv6", ipVersion=4), f"{INGRESS}/protocol"), (rule(protocol=58, ipVersion=4), f"{INGRESS}/protocol"),
    (rule(protocol=1, ipVersion=6), f"{INGRESS}/protocol"), (rule(notProtocol="ICMP", ipVersion=6), f"{INGRESS}/notProtocol"),
    (rule(metadata={"annotations": {"a": "x" * 262_144}}), f"{INGRESS}/metadata/annotations"),
    (rule(metadata={"labels": {}}), f"{INGRESS}/metadata/labels"),
    # http
    (rule("Deny", **HTTP), f"{INGRESS}/http"), (rule(protocol="UDP", http={"methods": ["GET"]}), f"{INGRESS}/protocol"),
    (gnp(egress=[{"action": "Allow", **HTTP}]), "/spec/egress/0/http"),
    (rule(http={"methods": ["GET", "GET"]}), f"{INGRESS}/http/methods"), (rule(http={"methods": [f"M{n}" for n in range(21)]}), f"{INGRESS}/http/methods"),
    (rule(http={"paths": [{"exact": "/"}] * 21}), f"{INGRESS}/http/paths"), (rule(http={"paths": [{}]}), f"{INGRESS}/http/paths/0"),
    (rule(http={"paths": [{"exact": "/", "prefix": "/"}]}), f"{INGRESS}/http/paths/0"),
    (rule(http={"paths": [{"exact": "a"}]}), f"{INGRESS}/http/paths/0/exact"), (rule(http={"paths": [{"prefix": "/a?b"}]}), f"{INGRESS}/http/paths/0/prefix"),
    (rule(http={"paths": [{"prefix": "/" + "a" * 1024}]}), f"{INGRESS}/http/paths/0/prefix"),
    # ports
    (rule(destination={"ports": [80]}), f"{INGRESS}/protocol"), (rule(destination={"notPorts": ["1:2"]}), f"{INGRESS}/protocol"),
    (rule(protocol="ICMP", destination={"ports": ["http"]}), f"{INGRESS}/protocol"), (rule(protocol="UDPLite", source={"ports": [80]}), f"{INGRESS}/protocol"),
    (tcp(ports=[0]), f"{INGRESS}/destination/ports/0"), (tcp(ports=[65536]), f"{INGRESS}/destination/ports/0"),
    (tcp(ports=["90:80"]), f"{INGRESS}/destination/ports/0"), (tcp(ports=["80:"]), f"{INGRESS}/destination/ports/0"),
    (tcp(notPorts=["http", "1:99999999999999999999"]), f"{INGRESS}/destination/notPorts/1"), (tcp(ports=["²"]), f"{INGRESS}/destination/ports/0"),
    (tcp(ports=["Http"]), f"{INGRESS}/destination/ports/0"), (tcp(ports=["a" * 16]), f"{INGRESS}/destination/ports/0"),
    (tcp(ports=["a--b"]), f"{INGRESS}/destination/ports/0"), (tcp(ports=[80.5]), f"{INGRESS}/destination/ports/0"),
    (tcp(ports=list(range(1, 52))), f"{INGRESS}/destination/ports"), (tcp(notPorts=list(range(1, 52))), f"{INGRESS}/destination/notPorts"),
    # prefixes
    (source(nets=["10.0.0.1/8"]), f"{INGRESS}/source/nets/0"), (source(nets=MANY), f"{INGRESS}/source/nets"), (source(notNets=MANY), f"{INGRESS}/source/notNets"),
    (source(notNets=["::/0"]), f"{INGRESS}/source/notNets/0"), (source(nets=["10.0.0.0/8", "fd00::/8"]), f"{INGRESS}/source/nets"),
    (source(nets=["10.0.0.0/8"], notNets=["fd00::/8"]), f"{INGRESS}/source/notNets"),
    (rule(source={"nets": ["10.0.0.0/8"]}, destination={"nets": ["fd00::/8"]}), f"{INGRESS}/destination/nets"),
    (rule(ipVersion=6, source={"nets": ["10.0.0.0/8"]}), f"{INGRESS}/source/nets"), (rule(ipVersion=4, destination={"notNets": ["fd00::/8"]}), f"{INGRESS}/destination/notNets"),
    # selectors of a rule
    (source(selector="global()"), f"{INGRESS}/source/selector"), (source(notSelector="global()"), f"{INGRESS}/source/notSelector"),
    (source(namespaceSelector="global() || all()"), f"{INGRESS}/source/namespaceSelector"), (source(namespaceSelector="!global()"), f"{INGRESS}/source/namespaceSelector"),
    (source(serviceAccounts={"selector": "global()"}), f"{INGRESS}/source/serviceAccounts/selector"),
    (source(serviceAccounts={"selector": "has (a)"}), f"{INGRESS}/source/serviceAccounts/selector"),
    # services
    (source(services={"name": "s"}), f"{INGRESS}/source/services/namespace"), (source(services={"namespace": "y"}), f"{INGRESS}/source/services/name"),
    (source(services={"name": "S", "namespace": "y"}), f"{INGRESS}/source/services/name"),
    (source(services=SERVICE, nets=["10.0.0.0/8"]), f"{INGRESS}/source/services"), (source(services=SERVICE, notSelector="a == 'b'"), f"{INGRESS}/source/services"),
    (source(services=SERVICE, namespaceSelector="all()"), f"{INGRESS}/source/services"),
    (source(services=SERVICE, serviceAccounts={"names": ["a"]}), f"{INGRESS}/source/services"),
    (rule(destination={"services": SERVICE}), f"{INGRESS}/destination/services"),
    (gnp(egress=[{"action": "Allow", "source": {"services": SERVICE}}]), "/spec/egress/0/source/services"),
    (gnp(egress=[{"action": "Allow", "protocol": "TCP", "destination": {"services": SERVICE, "ports": [80]}}]), "/spec/egress/0/destination/ports"),
    (gnp(egress=[{"action": "Allow", "protocol": "TCP", "destination": {"services": SERVICE, "notPorts": [80]}}]), "/spec/egress/0/destination/notPorts"),
    # host endpoints and profiles
    (document("HostEndpoint", {"interfaceName": "*"}), "/spec/node"), (hep(node="N 1"), "/spec/node"), (hep(node=""), "/spec/node"),
    (hep(interfaceName="a" * 16), "/spec/interfaceName"), (hep(interfaceName="eth*"), "/spec/interfaceName"), (hep(interfaceName=""), "/spec"),
    (hep(expectedIPs=["10.0.0.0/8"]), "/spec/expectedIPs/0"), (hep(profiles=["A"]), "/spec/profiles/0"),
    (port(name="HTTP"), "/spec/ports/0/name"), (port(protocol="ICMP"), "/spec/ports/0/protocol"), (port(port=0), "/spec/ports/0/port"),
    (document("Profile", {"labelsToApply": {"a": "-"}}), "/spec/labelsToApply/a"), (document("Profile", {"labelsToApply": {"a/b/c": "d"}}), "/spec/labelsToApply/a~1b~1c"),
    (document("Profile", {"ingress": [{"action": "Allow"}] * 1025}), "/spec/ingress"), (document("Profile", {"egress": [{"action": "Go"}]}), "/spec/egress/0/action"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pointer"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_calico_refuses_is_refused_by_its_pointer_alone(
    ask: Ask, text: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(yaml.safe_dump(text))
    assert [fault.pointer.split(": ", 1)[-1] for fault in caught.value.faults] == [pointer]


TAKEN = [
    tier("a" * 63, order=-5.5), tier("kube-admin", order=1_000, defaultAction="Pass"), tier("default", order=1e6),
    tier("kube-baseline", order=10_000_000, defaultAction="Pass"),
    document("GlobalNetworkPolicy", {"tier": "security"}, name="security.allow-dns"), document("NetworkPolicy", name="security.allow", namespace="x"),
    document("NetworkPolicy", name="knp.default.some.name", namespace="x"), gnp(tier=""), gnp(order=-1), gnp(order=0.5),
    gnp(performanceHints=["AssumeNeededOnEveryNode"]), gnp(types=[]), gnp(types=["Egress", "Ingress"]),
    gnp(ingress=[{"action": "Allow"}] * 1024), rule(protocol="ICMP", icmp={}), rule(protocol="6", destination={"ports": [80]}),
    rule(protocol=255), rule(destination={"ports": ["http"], "notPorts": ["dns"]}), tcp(ports=[1, 65535, "1:65535", "80", "http"]),
    tcp(ports=list(range(1, 51))), source(nets=MANY[:256]), source(namespaceSelector=" global( ) "), rule(**HTTP),
    rule(http={"methods": [f"M{n}" for n in range(20)], "paths": [{"exact": "/a"}, {"prefix": "/"}] * 10}),
    np(ingress=[{"action": "Allow", "source": {"services": {"name": "s"}}}]), np(egress=[{"action": "Allow", "destination": {"services": {"name": "s"}}}]),
    rule(metadata={"annotations": {"example.org/Why": "because"}}), rule(protocol="ICMP", ipVersion=4), rule(protocol="ICMPv6", ipVersion=6),
    document("StagedGlobalNetworkPolicy", {"stagedAction": "Delete", "tier": "default"}), document("StagedNetworkPolicy", {"stagedAction": "Learn"}, namespace="x"),
    document("GlobalNetworkSet", {"nets": ["10.0.0.0/8", "fd00::/8", "10.1.2.3"]}), hep(interfaceName="bond0.100"), hep(expectedIPs=["10.0.0.1", "fd00::1"]),
    port(protocol="UDP"), document("Profile", {"labelsToApply": {"pcns.tenant": "blue"}}),
    document("GlobalNetworkPolicy", uid="u", managedFields=[{}], ownerReferences=[{}], finalizers=["f"], creationTimestamp=None, labels=None, annotations=None),
]  # fmt: skip


@pytest.mark.parametrize("taken", TAKEN, ids=str)
def test_what_calico_takes_is_taken(ask: Ask, taken: dict[str, Any]) -> None:
    assert ask(yaml.safe_dump(taken))("x/a", "x/a") == "Allow"


def test_every_fault_is_told_at_once(ask: Ask) -> None:
    wrong = {
        "action": "Go",
        "protocol": "TCPX",
        "source": {"selector": "a ="},
        "destination": {"ports": ["-"]},
    }
    with pytest.raises(InvalidInput) as caught:
        ask(yaml.safe_dump_all([gnp(tier="A", ingress=[{"action": "Allow"}, wrong]), tier("a.b")]))
    assert {fault.pointer.split(": ", 1)[-1] for fault in caught.value.faults} == {
        "/spec/tier", "/spec/ingress/1/action", "/spec/ingress/1/protocol", "/spec/ingress/1/source/selector",
        "/spec/ingress/1/destination/ports/0", "/metadata/name",
    }  # fmt: skip


def test_a_fault_quotes_little_of_what_is_wrong(ask: Ask) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(yaml.safe_dump(tcp(ports=["x" * 100_000])))
    assert len(caught.value.faults[0].message) < 300
