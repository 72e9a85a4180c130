"""Cilium's policies into the model. They share the tier `default` and order 1000 with Kubernetes' NetworkPolicies: their denials
come first, then everything that allows, then isolation.

Whom rules mean is in `cilium_peers`. What this release cannot enforce (L7, DNS names, groups, authentication) is carried in `Rule.lacks`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from federation.doors.cilium_documents import (
    ICMP_TYPES,
    PROTOCOLS,
    WITHOUT_PORTS,
    CiliumSpec,
    EgressRule,
    IngressRule,
    PortRule,
)
from federation.doors.cilium_peers import (
    Surroundings,
    endpoints,
    entity,
    key_of,
    node_key_of,
    nodes,
    prefixes,
    services,
)
from federation.doors.labels import LabelSelector, selector_from
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.rules.model import IcmpMatch
from federation.selectors import and_, equals

__all__ = ["Surroundings", "policies_of"]

TIER, ORDER = "default", 1000.0
DENIES_FIRST = -1
OWN_NAMESPACE = "k8s:io.kubernetes.pod.namespace"
Ports = tuple[int | str, ...]


def policies_of(
    key: ObjectKey, specs: Iterable[tuple[str, CiliumSpec]], around: Surroundings
) -> tuple[model.Policy, ...]:
    """The model's policies of checked specs; each comes with the pointer where it stands (`spec`, `specs/0`)."""
    return tuple(policy for place, spec in specs for policy in _policies(key, place, spec, around))


def _policies(key: ObjectKey, place: str, spec: CiliumSpec, around: Surroundings) -> Iterator[model.Policy]:
    has_ingress = bool(spec.ingress or spec.ingress_deny)
    has_egress = bool(spec.egress or spec.egress_deny)
    wanted = spec.enable_default_deny
    isolates = set()
    if has_ingress if wanted.ingress is None else wanted.ingress:
        isolates.add(Direction.INGRESS)
    if has_egress if wanted.egress is None else wanted.egress:
        isolates.add(Direction.EGRESS)
    subject = _subject(key, spec)
    prefix = "" if place == "spec" else f"{place}/"
    if spec.ingress_deny or spec.egress_deny:
        yield model.Policy(
            key=key, tier=TIER, order=ORDER, phase=DENIES_FIRST, subject=subject, is_for_own_host=True,
            ingress=tuple(_ingress("Deny", f"{prefix}ingressDeny", spec.ingress_deny or (), key, around)),
            egress=tuple(_egress("Deny", f"{prefix}egressDeny", spec.egress_deny or (), key, around)),
        )  # fmt: skip
    yield model.Policy(
        key=key, tier=TIER, order=ORDER, subject=subject, isolates=frozenset(isolates),
        ingress=tuple(_ingress("Allow", f"{prefix}ingress", spec.ingress or (), key, around)),
        egress=tuple(_egress("Allow", f"{prefix}egress", spec.egress or (), key, around)),
    )  # fmt: skip


def _subject(key: ObjectKey, spec: CiliumSpec) -> model.Match:
    if spec.node_selector is not None:
        selector, kinds = selector_from(spec.node_selector, node_key_of), model.HOSTS
    else:
        wanted, kinds = spec.endpoint_selector or LabelSelector(), model.WORKLOADS
        if (
            key.namespace and OWN_NAMESPACE in wanted.match_labels
        ):  # the policy's own goes in its place, as in Cilium
            others = {k: v for k, v in wanted.match_labels.items() if k != OWN_NAMESPACE}
            wanted = replace(wanted, match_labels=others)
        selector = selector_from(wanted, key_of)
        if key.namespace:
            selector = and_(selector, equals(NAMESPACE_LABEL, key.namespace))
    if key.cluster:
        selector = and_(selector, equals(CLUSTER_LABEL, key.cluster))
    return model.Match(kinds=kinds, selector=selector)


def _ingress(
    action: str, section: str, rules: tuple[IngressRule, ...], key: ObjectKey, around: Surroundings
) -> Iterator[model.Rule]:
    for index, rule in enumerate(rules):
        lacks = _lacks(rule, bool(rule.from_groups))
        peers = _sources(rule, key, around)
        for template, ports, more in _transports(rule, peers is None):
            for peer in [model.ANYONE] if peers is None else peers:
                yield replace(
                    template, action=action, index=index, section=section, lacks=(*lacks, *more), source=peer,
                    destination=model.Match(ports=ports),
                )  # fmt: skip


def _egress(
    action: str, section: str, rules: tuple[EgressRule, ...], key: ObjectKey, around: Surroundings
) -> Iterator[model.Rule]:
    for index, rule in enumerate(rules):
        lacks = _lacks(rule, bool(rule.to_groups))
        lacks = (*lacks, "toFQDNs") if rule.to_fqdns else lacks
        peers = _destinations(rule, key, around)
        for template, ports, more in _transports(rule, peers is None):
            for peer in [model.ANYONE] if peers is None else peers:
                yield replace(
                    template, action=action, index=index, section=section, lacks=(*lacks, *more),
                    destination=replace(peer, ports=ports),
                )  # fmt: skip


def _sources(rule: IngressRule, key: ObjectKey, around: Surroundings) -> list[model.Match] | None:
    """Whom an ingress rule means: None is whoever. A list that is there and empty means nobody, whatever stands beside it."""
    lists = (
        rule.from_endpoints, rule.from_cidr, rule.from_cidr_set, rule.from_entities, rule.from_nodes, rule.from_groups,
    )  # fmt: skip
    if all(listed is None for listed in lists):
        return None
    if any(listed is not None and not listed for listed in lists):
        return []
    return [
        *(match for each in rule.from_endpoints or () for match in endpoints(each, key)),
        *prefixes(rule.from_cidr or (), rule.from_cidr_set or (), around),
        *(match for each in rule.from_entities or () for match in entity(each)),
        *map(nodes, rule.from_nodes or ()),
        *((model.Match(kinds=model.OUTSIDE),) if rule.from_groups else ()),
    ]


def _destinations(rule: EgressRule, key: ObjectKey, around: Surroundings) -> list[model.Match] | None:
    """As `_sources`, of an egress rule."""
    lists = (
        rule.to_endpoints, rule.to_cidr, rule.to_cidr_set, rule.to_entities, rule.to_nodes, rule.to_services, rule.to_fqdns,
        rule.to_groups,
    )  # fmt: skip
    if all(listed is None for listed in lists):
        return None
    if any(listed is not None and not listed for listed in lists):
        return []
    return [
        *(match for each in rule.to_endpoints or () for match in endpoints(each, key)),
        *prefixes(rule.to_cidr or (), rule.to_cidr_set or (), around),
        *(match for each in rule.to_entities or () for match in entity(each)),
        *map(nodes, rule.to_nodes or ()),
        *(match for each in rule.to_services or () for match in services(each, key, around)),
        *((model.Match(kinds=model.OUTSIDE),) if rule.to_fqdns or rule.to_groups else ()),
    ]


def _lacks(rule: IngressRule | EgressRule, has_groups: bool) -> tuple[str, ...]:
    is_authenticated = rule.authentication is not None and rule.authentication.mode != "disabled"
    return (*(("authentication",) if is_authenticated else ()), *(("groups",) if has_groups else ()))


def _transports(
    rule: IngressRule | EgressRule, is_anyone: bool
) -> Iterator[tuple[model.Rule, Ports, tuple[str, ...]]]:
    """Every (protocol or ICMP type, ports, what is lacking) that a rule comes to. A rule that says nothing at all matches nothing."""
    blank = model.Rule(action="Allow", index=0, section="")
    for icmp in rule.icmps:
        for wanted in icmp.fields:
            text = str(wanted.type)
            number = int(text) if text.isdecimal() else ICMP_TYPES[wanted.family].get(text, -1)
            version, protocol = (4, 1) if wanted.family == "IPv4" else (6, 58)
            yield replace(blank, ip_version=version, protocol=protocol, icmp=IcmpMatch(type=number)), (), ()
    for port_rule in rule.to_ports:
        lacks = _beyond_ports(port_rule)
        for protocol, ports in _port_groups(port_rule).items():
            yield replace(blank, protocol=protocol), ports, lacks
    if not rule.to_ports and not rule.icmps and not is_anyone:
        yield blank, (), ()


def _port_groups(rule: PortRule) -> dict[int, Ports]:
    groups: dict[int, list[int | str]] = {}
    whole: set[int] = set()
    for entry in rule.ports:
        name = entry.protocol.upper()
        text = str(entry.port)
        for protocol in (6, 17, 132) if name in ("ANY", "") else (PROTOCOLS[name],):
            listed = groups.setdefault(protocol, [])
            if text in ("", "0") or name in WITHOUT_PORTS:
                whole.add(protocol)
            elif text.isdecimal():
                listed.append(f"{text}:{entry.end_port}" if entry.end_port else int(text))
            else:
                listed.append(text.lower())
    return {protocol: () if protocol in whole else tuple(listed) for protocol, listed in groups.items()}


def _beyond_ports(rule: PortRule) -> tuple[str, ...]:
    """What of a port rule goes beyond ports. DNS rules that let every name pass narrow nothing."""
    rules = rule.rules
    is_every_name = any(each.match_pattern == "*" for each in rules.dns)
    carried = (
        ("rules.http", rules.http),
        ("rules.dns", rules.dns if not is_every_name else ()),
        ("rules.kafka", rules.kafka),
        ("rules.l7proto", rules.l7proto or rules.l7),
        ("serverNames", rule.server_names),
        ("terminatingTLS", rule.terminating_tls),
        ("originatingTLS", rule.originating_tls),
        ("listener", rule.listener),
    )
    return tuple(name for name, value in carried if value)
