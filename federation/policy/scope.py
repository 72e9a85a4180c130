"""What a policy's selectors mean once its scope is put into them: one selector over security labels.

NetworkPolicy: bound to its namespace and (if it names one) its cluster; its rules' selectors mean the subject's cluster
unless they name the cluster label. GlobalNetworkPolicy: every cluster. Calico's fine print: as soon as a NetworkPolicy's
rule uses any selector field it is limited to the policy's namespace, or to those that `namespaceSelector` selects.
Namespaces and service accounts are known by name only in this release; other labels of theirs are absent.
"""

from dataclasses import dataclass
from functools import lru_cache

from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.rules.model import EntityRule, Prefix
from federation.rules.policies import Policy
from federation.selectors import ALL, Selector, and_, equals, not_, parse
from federation.selectors.parser import selector_of
from federation.selectors.tree import All, And, Compare, Global, Has, In, Node, Not, Or

NAME_KEYS = ("projectcalico.org/name", "kubernetes.io/metadata.name")


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a policy its rules' selectors need: its namespace ("" of a global one) and the subject's cluster."""

    namespace: str
    cluster: str


@dataclass(frozen=True, slots=True)
class PeerTerms:
    """What a rule asks of one end, besides ports. None: not asked. All that is set must hold."""

    selector: Selector | None
    not_selector: Selector | None
    nets: tuple[Prefix, ...]
    not_nets: tuple[Prefix, ...]


def scope_of(policy: Policy, subject_cluster: str) -> Scope:
    """The scope of a policy's rules for a subject of that cluster."""
    return Scope(policy.metadata.namespace, subject_cluster)


def subject_selector(policy: Policy) -> Selector:
    """Which endpoints a policy applies to."""
    spec, meta = policy.spec, policy.metadata
    selected = parse(spec.selector)
    if meta.namespace:
        selected = and_(selected, equals(NAMESPACE_LABEL, meta.namespace))
    if meta.cluster:
        selected = and_(selected, equals(CLUSTER_LABEL, meta.cluster))
    if spec.namespace_selector:
        selected = and_(selected, namespaces(spec.namespace_selector))
    if spec.service_account_selector:
        selected = and_(selected, _inherited(parse(spec.service_account_selector), SERVICE_ACCOUNT_LABEL))
    return selected


@lru_cache(maxsize=65536)
def terms_of(entity: EntityRule, scope: Scope) -> PeerTerms:
    """What one side of a rule asks, with the scope put into its selectors."""
    accounts = entity.service_accounts
    is_selecting = bool(entity.selector or entity.not_selector or entity.namespace_selector or accounts)
    if not is_selecting:
        return PeerTerms(None, None, entity.nets, entity.not_nets)
    selected = parse(entity.selector)
    if accounts:
        selected = and_(
            selected, selector_of(In(SERVICE_ACCOUNT_LABEL, tuple(sorted(set(accounts.names))), False))
        )
    is_positive = bool(entity.selector or entity.namespace_selector or accounts)
    if entity.namespace_selector:
        selected = and_(selected, namespaces(entity.namespace_selector))
    elif scope.namespace:
        selected = and_(selected, equals(NAMESPACE_LABEL, scope.namespace))
    is_global_peer = entity.namespace_selector.strip(" \t") == "global()"
    if (
        scope.namespace
        and not is_global_peer
        and CLUSTER_LABEL not in selected.keys | parse(entity.not_selector).keys
    ):
        selected = and_(selected, equals(CLUSTER_LABEL, scope.cluster))
    unwanted = parse(entity.not_selector) if entity.not_selector else None
    if not is_positive and not scope.namespace:
        return PeerTerms(None, unwanted, entity.nets, entity.not_nets)
    if unwanted is not None:
        selected = and_(selected, not_(unwanted))
    return PeerTerms(selected, None, entity.nets, entity.not_nets)


def namespaces(text: str) -> Selector:
    """A namespaceSelector as a selector over endpoints' labels."""
    selector = parse(text)
    if isinstance(selector.node, Global):
        return selector
    return and_(selector_of(Has(NAMESPACE_LABEL)), _inherited(selector, NAMESPACE_LABEL))


def _inherited(selector: Selector, name_label: str) -> Selector:
    """`selector` over the labels of a namespace or service account, said of those who live in it."""
    if selector == ALL:
        return selector_of(Has(name_label))
    return selector_of(_renamed(selector.node, name_label))


def _renamed(node: Node, name_label: str) -> Node:
    def key(name: str) -> str:
        return name_label if name in NAME_KEYS else f"{name_label}/label/{name}"

    match node:
        case All() | Global():
            return node
        case Has(name):
            return Has(key(name))
        case Compare(name, operator, value):
            return Compare(key(name), operator, value)
        case In(name, values, is_negated):
            return In(key(name), values, is_negated)
        case Not(operand):
            return Not(_renamed(operand, name_label))
        case And(operands):
            return And(tuple(_renamed(operand, name_label) for operand in operands))
        case Or(operands):
            return Or(tuple(_renamed(operand, name_label) for operand in operands))
