"""What Cilium's API would refuse in a policy, and what this release refuses by name."""

from collections.abc import Iterable
from typing import Any

from federation.doors.cilium_documents import (
    ENTITIES,
    ICMP_TYPES,
    PROTOCOLS,
    WITHOUT_PORTS,
    CidrRule,
    CiliumSpec,
    EgressRule,
    IcmpRule,
    IngressRule,
    L7Rules,
    PortProtocol,
    PortRule,
)
from federation.doors.cilium_peers import API_SERVER, RESERVED, is_positive, requirements
from federation.doors.kubernetes import name_faults, network_of
from federation.doors.labels import LabelSelector, selector_faults
from federation.errors import Fault
from federation.resources.grammar import LABEL_KEY

MAX_PORTS = 40
MAX_ICMP_FIELDS = 40
MODES = ("disabled", "required", "test-always-fail")
PEERS: dict[str, tuple[tuple[str, str], ...]] = {
    "ingress": (
        ("from_endpoints", "fromEndpoints"), ("from_cidr", "fromCIDR"), ("from_cidr_set", "fromCIDRSet"), ("from_entities", "fromEntities"),
        ("from_nodes", "fromNodes"), ("from_groups", "fromGroups"),
    ),
    "egress": (
        ("to_endpoints", "toEndpoints"), ("to_cidr", "toCIDR"), ("to_cidr_set", "toCIDRSet"), ("to_entities", "toEntities"),
        ("to_nodes", "toNodes"), ("to_services", "toServices"), ("to_fqdns", "toFQDNs"), ("to_groups", "toGroups"),
    ),
}  # fmt: skip


def is_key(key: str) -> bool:
    """A label's key with or without the source that Cilium puts before it."""
    source, separator, bare = key.partition(":")
    if not separator:
        bare = source
    return bool(LABEL_KEY.fullmatch(bare) or bare.startswith("io.cilium.k8s.namespace.labels."))


def spec_faults(at: str, spec: CiliumSpec, *, is_clusterwide: bool) -> Iterable[Fault]:
    """Every fault of one rule of Cilium."""
    if (spec.endpoint_selector is None) is (spec.node_selector is None):
        yield Fault(at, "exactly one of endpointSelector, nodeSelector is needed")
    if spec.node_selector is not None and not is_clusterwide:
        yield Fault(f"{at}/nodeSelector", "is for CiliumClusterwideNetworkPolicies")
    yield from selector_faults(f"{at}/endpointSelector", spec.endpoint_selector, is_key=is_key)
    yield from selector_faults(f"{at}/nodeSelector", spec.node_selector, is_key=is_key)
    sections: tuple[tuple[str, str, tuple[Any, ...] | None], ...] = (
        ("ingress", "ingress", spec.ingress), ("ingressDeny", "ingress", spec.ingress_deny),
        ("egress", "egress", spec.egress), ("egressDeny", "egress", spec.egress_deny),
    )  # fmt: skip
    if not any(rules for _, _, rules in sections):
        yield Fault(at, "at least one of ingress, ingressDeny, egress, egressDeny is needed, with a rule")
    for name, direction, rules in sections:
        for index, rule in enumerate(rules or ()):
            yield from _rule_faults(f"{at}/{name}/{index}", direction, rule, is_denial=name.endswith("Deny"))


def _rule_faults(
    at: str, direction: str, rule: IngressRule | EgressRule, *, is_denial: bool
) -> Iterable[Fault]:
    given = [name for attribute, name in PEERS[direction] if getattr(rule, attribute)]
    if len(given) > 1:
        yield Fault(at, f"combining {given[0]} and {given[1]} is not supported: write two rules")
    for attribute, name in (("from_requires", "fromRequires"), ("to_requires", "toRequires")):
        if getattr(rule, attribute, None) is not None:
            yield Fault(
                f"{at}/{name}", "is gone since Cilium 1.19: write what it requires into the selectors"
            )
    if rule.to_ports and rule.icmps:
        yield Fault(f"{at}/icmps", "not together with toPorts")
    if is_denial and (getattr(rule, "to_fqdns", None) or rule.authentication):
        yield Fault(at, "a denial has neither toFQDNs nor authentication")
    if rule.authentication is not None and rule.authentication.mode not in MODES:
        yield Fault(
            f"{at}/authentication/mode", f"{rule.authentication.mode!r} is not one of {', '.join(MODES)}"
        )
    for attribute, name in PEERS[direction]:
        value = getattr(rule, attribute) or ()
        for index, one in enumerate(value):
            yield from _peer_faults(f"{at}/{name}/{index}", name, one)
    for number, port_rule in enumerate(rule.to_ports):
        here = f"{at}/toPorts/{number}"
        yield from _port_rule_faults(here, port_rule)
        yield from _beyond_faults(here, direction, port_rule, is_denial=is_denial)
    yield from _icmp_faults(f"{at}/icmps", rule.icmps)


def _icmp_faults(at: str, icmps: tuple[IcmpRule, ...]) -> Iterable[Fault]:
    for number, icmp in enumerate(icmps):
        if len(icmp.fields) > MAX_ICMP_FIELDS:
            yield Fault(f"{at}/{number}/fields", f"more than {MAX_ICMP_FIELDS} fields")
        for place, wanted in enumerate(icmp.fields):
            here = f"{at}/{number}/fields/{place}"
            if wanted.family not in ICMP_TYPES:
                yield Fault(f"{here}/family", f"{wanted.family!r} is not one of IPv4, IPv6")
                continue
            kind = wanted.type
            is_number = isinstance(kind, int) or (kind.isascii() and kind.isdecimal())
            if is_number and not 0 <= int(kind) <= 255:
                yield Fault(f"{here}/type", f"{kind} is not in 0-255")
            if not is_number and kind not in ICMP_TYPES[wanted.family]:
                yield Fault(f"{here}/type", f"{kind!r} is not an ICMP type of {wanted.family}")


def _peer_faults(at: str, name: str, one: Any) -> Iterable[Fault]:
    if name.endswith(("Endpoints", "Nodes")):
        yield from selector_faults(at, one, is_key=is_key)
        yield from _reserved_faults(at, one)
    elif name.endswith("CIDR"):
        yield from prefix_faults(at, one)
    elif name.endswith("CIDRSet"):
        yield from _set_faults(at, one)
    elif name.endswith("Entities") and one not in ENTITIES:
        yield Fault(at, f"{one!r} is not one of {', '.join(ENTITIES)}")
    elif name == "toServices" and (one.k8s_service is None) is (one.k8s_service_selector is None):
        yield Fault(at, "exactly one of k8sService, k8sServiceSelector is needed")
    elif name == "toFQDNs" and bool(one.match_name) is bool(one.match_pattern):
        yield Fault(at, "exactly one of matchName, matchPattern is needed")


def _reserved_faults(at: str, wanted: LabelSelector) -> Iterable[Fault]:
    """Ends of the reserved kinds without those that serve the API cannot be said in our model."""
    reserved = [each for each in requirements(wanted) if each.key.startswith(RESERVED)]
    is_negated = any(each.key == RESERVED + API_SERVER and not is_positive(each) for each in reserved)
    if is_negated and any(map(is_positive, reserved)):
        yield Fault(at, "reserved:kube-apiserver cannot be excluded in this release")


def prefix_faults(at: str, text: str) -> Iterable[Fault]:
    """A prefix, host bits allowed."""
    try:
        network_of(text)
    except ValueError:
        yield Fault(at, f"{text!r} is not a prefix")


def _set_faults(at: str, one: CidrRule) -> Iterable[Fault]:
    if sum((bool(one.cidr), bool(one.cidr_group_ref), one.cidr_group_selector is not None)) != 1:
        yield Fault(at, "exactly one of cidr, cidrGroupRef, cidrGroupSelector is needed")
        return
    yield from selector_faults(f"{at}/cidrGroupSelector", one.cidr_group_selector)
    whole = None
    if one.cidr:
        yield from (faults := list(prefix_faults(f"{at}/cidr", one.cidr)))
        if faults:
            return
        whole = network_of(one.cidr)
    for index, text in enumerate(one.except_):
        yield from (faults := list(prefix_faults(f"{at}/except/{index}", text)))
        if faults or whole is None:
            continue
        part = network_of(text)
        if part.version != whole.version or not part.subnet_of(whole):  # type: ignore[arg-type]
            yield Fault(f"{at}/except/{index}", f"{part} does not lie in {whole}")


def _port_rule_faults(at: str, rule: PortRule) -> Iterable[Fault]:
    if len(rule.ports) > MAX_PORTS:
        yield Fault(f"{at}/ports", f"more than {MAX_PORTS} ports")
    for index, port in enumerate(rule.ports):
        yield from _port_faults(f"{at}/ports/{index}", port)


def _beyond_faults(at: str, direction: str, rule: PortRule, *, is_denial: bool) -> Iterable[Fault]:
    """L7 rules and TLS: where they may stand."""
    given = [name for name in ("http", "dns", "kafka", "l7") if getattr(rule.rules, name)]
    beyond = (
        ("rules", rule.rules != L7Rules()),
        ("serverNames", rule.server_names),
        ("terminatingTLS", rule.terminating_tls),
        ("originatingTLS", rule.originating_tls),
        ("listener", rule.listener),
    )
    if is_denial:
        for name, value in beyond:
            if value:
                yield Fault(f"{at}/{name}", "a denial looks at nothing beyond ports")
        return
    if len(given) > 1:
        yield Fault(f"{at}/rules", f"{given[0]} and {given[1]} in one rule: write two rules")
    if direction == "ingress" and rule.rules.dns:
        yield Fault(f"{at}/rules/dns", "is for egress")
    if direction == "ingress" and rule.listener:
        yield Fault(f"{at}/listener", "is for egress")


def _port_faults(at: str, port: PortProtocol) -> Iterable[Fault]:
    name, text = port.protocol.upper(), str(port.port)
    is_number = text.isascii() and text.isdecimal()
    if name not in ("", "ANY", *PROTOCOLS) or name in ("ICMP", "ICMPV6"):
        yield Fault(
            f"{at}/protocol", f"{port.protocol!r} is not one of TCP, UDP, SCTP, ANY (ICMP stands under icmps)"
        )
    elif name in WITHOUT_PORTS and text not in ("", "0"):
        yield Fault(f"{at}/port", f"{name} has no ports: write 0, or nothing")
    if is_number and int(text) > 65535:
        yield Fault(f"{at}/port", f"{text} is not in 0-65535")
    if text and not is_number:
        yield from name_faults(f"{at}/port", text.lower())
    if port.end_port is not None and port.end_port != 0:
        if not is_number or int(text) == 0:
            yield Fault(f"{at}/endPort", "needs a number above 0 as port")
        elif not int(text) <= port.end_port <= 65535:
            yield Fault(f"{at}/endPort", f"{port.end_port} is not in {text}-65535")
