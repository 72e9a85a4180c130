"""Our policies, which are Calico's (projectcalico.org/v3), into the model: what their selectors mean once the scope is put in.

NetworkPolicy: bound to its namespace and (if it names one) its cluster; its rules' selectors mean the subject's cluster
unless they name the cluster label. GlobalNetworkPolicy: every cluster. Calico's fine print: as soon as a NetworkPolicy's
rule uses any selector field it is limited to the policy's namespace, or to those that `namespaceSelector` selects.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import inf

from federation.doors.labels import namespace_key
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.rules.model import EntityRule, PolicySpec, Rule
from federation.rules.policies import Policy
from federation.rules.protocols import protocol_number
from federation.selectors import ALL, Selector, and_, equals, not_, parse
from federation.selectors.parser import selector_of
from federation.selectors.tree import Global, Has, In, renamed

NAME_KEYS = ("projectcalico.org/name", "kubernetes.io/metadata.name")
OF_NAMESPACE, OF_ACCOUNT = "pcns.", "pcsa."
"""How Calico's names of labels begin that an end has of its namespace, of its service account."""
TYPES = {"Ingress": Direction.INGRESS, "Egress": Direction.EGRESS}


def policy_of(policy: Policy) -> model.Policy:
    """The model's policy of a checked and completed one."""
    spec, key = policy.spec, policy.key
    stage = (
        model.Stage.UNTRACKED
        if spec.do_not_track
        else model.Stage.PRE_DNAT
        if spec.pre_dnat
        else model.Stage.NORMAL
    )
    is_of_hosts_only = stage is not model.Stage.NORMAL
    is_namespaced = bool(key.namespace or spec.namespace_selector or spec.service_account_selector)
    return model.Policy(
        key=key,
        tier=spec.tier,
        order=inf if spec.order is None else spec.order,
        subject=model.Match(
            kinds=frozenset({model.PartyKind.HOST_ENDPOINT})
            if is_of_hosts_only
            else model.WORKLOADS
            if is_namespaced
            else model.SUBJECTS,
            selector=subject_selector(spec, key),
        ),
        isolates=frozenset() if is_of_hosts_only else frozenset(TYPES[word] for word in spec.types),
        ingress=_rules(spec.ingress, "ingress", key) if "Ingress" in spec.types else None,
        egress=_rules(spec.egress, "egress", key) if "Egress" in spec.types else None,
        stage=stage,
        is_on_forward=spec.apply_on_forward,
        staged_action=(spec.staged_action or "Set") if key.kind.startswith("Staged") else "",
    )


def subject_selector(spec: PolicySpec, key: ObjectKey) -> Selector:
    """Which ends a policy applies to."""
    selected = of_ends(spec.selector)
    if key.namespace:
        selected = and_(selected, equals(NAMESPACE_LABEL, key.namespace))
    if key.cluster:
        selected = and_(selected, equals(CLUSTER_LABEL, key.cluster))
    if spec.namespace_selector:
        selected = and_(selected, namespaces(spec.namespace_selector))
    if spec.service_account_selector:
        selected = and_(selected, inherited(parse(spec.service_account_selector), SERVICE_ACCOUNT_LABEL))
    return selected


def _rules(rules: tuple[Rule, ...], section: str, key: ObjectKey) -> tuple[model.Rule, ...]:
    return tuple(rule_of(rule, index, section, key.namespace) for index, rule in enumerate(rules))


def rule_of(rule: Rule, index: int, section: str, namespace: str) -> model.Rule:
    """The model's rule; `namespace` is that of the policy, if it has one. Ports by name without a protocol are TCP's (Felix's rule scanner)."""
    protocol = rule.protocol
    if protocol is None and (rule.source.ports or rule.destination.ports):
        protocol = "TCP"
    return model.Rule(
        action=rule.action,
        index=index,
        section=section,
        ip_version=rule.ip_version,
        protocol=None if protocol is None else protocol_number(protocol),
        not_protocol=None if rule.not_protocol is None else protocol_number(rule.not_protocol),
        icmp=rule.icmp,
        not_icmp=rule.not_icmp,
        source=match_of(rule.source, namespace, is_destination=False),
        destination=match_of(rule.destination, namespace, is_destination=True),
        lacks=tuple(_lacks(rule)),
    )


def _lacks(rule: Rule) -> Iterator[str]:
    if rule.http is not None:
        yield "http"
    if rule.source.domains or rule.destination.domains:
        yield "domains"


@lru_cache(maxsize=65536)
def match_of(entity: EntityRule, namespace: str, *, is_destination: bool) -> model.Match:
    """What one side of a rule asks, with the scope put into its selectors."""
    accounts, services = entity.service_accounts, entity.services
    references = (
        ()
        if services is None
        else (model.ServiceReference(services.namespace or namespace, services.name, is_destination),)
    )
    is_selecting = bool(entity.selector or entity.not_selector or entity.namespace_selector or accounts)
    if not is_selecting:
        return _match(entity, None, None, references, is_same_cluster=False)
    selected = of_ends(entity.selector)
    if accounts and accounts.names:
        selected = and_(
            selected, selector_of(In(SERVICE_ACCOUNT_LABEL, tuple(sorted(set(accounts.names))), False))
        )
    if accounts and accounts.selector:
        selected = and_(selected, inherited(parse(accounts.selector), SERVICE_ACCOUNT_LABEL))
    is_positive = bool(entity.selector or entity.namespace_selector or accounts)
    if entity.namespace_selector:
        selected = and_(selected, namespaces(entity.namespace_selector))
    elif namespace:
        selected = and_(selected, equals(NAMESPACE_LABEL, namespace))
    is_global_peer = isinstance(parse(entity.namespace_selector).node, Global)
    unwanted = of_ends(entity.not_selector) if entity.not_selector else None
    names_cluster = CLUSTER_LABEL in selected.keys | (unwanted.keys if unwanted else frozenset())
    is_same_cluster = bool(namespace) and not is_global_peer and not names_cluster
    if not is_positive and not namespace:
        return _match(entity, None, unwanted, references, is_same_cluster=False)
    if unwanted is not None:
        selected = and_(selected, not_(unwanted))
    return _match(entity, selected, None, references, is_same_cluster=is_same_cluster)


def _match(
    entity: EntityRule,
    selector: Selector | None,
    not_selector: Selector | None,
    services: tuple[model.ServiceReference, ...],
    *,
    is_same_cluster: bool,
) -> model.Match:
    return model.Match(
        kinds=_kinds(entity, selector), selector=selector, not_selector=not_selector, nets=entity.nets,
        not_nets=entity.not_nets, ports=entity.ports, not_ports=entity.not_ports, services=services, is_same_cluster=is_same_cluster,
    )  # fmt: skip


def _kinds(entity: EntityRule, selector: Selector | None) -> frozenset[model.PartyKind] | None:
    """Service accounts are of workloads, whatever their selector excludes."""
    if selector is None:
        return None
    return model.LABELLED if entity.service_accounts is None else model.WORKLOADS


def of_ends(text: str) -> Selector:
    """A selector over ends' labels as Calico names them."""
    selector = parse(text)
    is_renamed = any(key.startswith((OF_NAMESPACE, OF_ACCOUNT)) for key in selector.keys)
    return selector_of(renamed(selector.node, end_key)) if is_renamed else selector


def end_key(key: str) -> str:
    """Under which name an end carries what Calico calls `key`."""
    if key.startswith(OF_NAMESPACE):
        return namespace_key(key.removeprefix(OF_NAMESPACE))
    return account_key(key.removeprefix(OF_ACCOUNT)) if key.startswith(OF_ACCOUNT) else key


def namespaces(text: str) -> Selector:
    """A namespaceSelector as a selector over ends' labels."""
    selector = parse(text)
    if isinstance(selector.node, Global):
        return selector
    return and_(selector_of(Has(NAMESPACE_LABEL)), inherited(selector, NAMESPACE_LABEL))


def inherited(selector: Selector, name_label: str) -> Selector:
    """`selector` over the labels of a namespace or service account, said of those who live in it."""
    if selector == ALL:
        return selector_of(Has(name_label))
    return selector_of(
        renamed(selector.node, namespace_key if name_label == NAMESPACE_LABEL else account_key)
    )


def account_key(key: str) -> str:
    """Under which name an end carries a label of its service account."""
    return SERVICE_ACCOUNT_LABEL if key in NAME_KEYS else f"{SERVICE_ACCOUNT_LABEL}/label/{key}"
