"""Kubernetes' LabelSelector as a selector. Source: the Kubernetes API, meta/v1."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from federation.errors import Fault
from federation.identities import NAMESPACE_LABEL
from federation.resources.grammar import LABEL_KEY, LABEL_VALUE
from federation.selectors import ALL, Selector
from federation.selectors.parser import selector_of
from federation.selectors.tree import And, Compare, Has, In, Node, Not

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
NAME_KEYS = ("kubernetes.io/metadata.name", "projectcalico.org/name")
"""Labels that every namespace (and, in Calico, every service account) has of itself: its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One of matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """All of both must hold; the empty one selects everything."""

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


EVERYTHING = LabelSelector()


def selector_faults(
    pointer: str, selector: LabelSelector | None, *, is_key: Callable[[str], object] = LABEL_KEY.fullmatch
) -> Iterable[Fault]:
    """What Kubernetes' API would refuse."""
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        escaped = key.replace("~", "~0").replace("/", "~1")
        if not is_key(key):
            yield Fault(f"{pointer}/matchLabels/{escaped}", "not a label key")
        if not LABEL_VALUE.fullmatch(value):
            yield Fault(f"{pointer}/matchLabels/{escaped}", f"{value!r} is not a label value")
    for index, requirement in enumerate(selector.match_expressions):
        at = f"{pointer}/matchExpressions/{index}"
        if not is_key(requirement.key):
            yield Fault(f"{at}/key", f"{requirement.key!r} is not a label key")
        if requirement.operator not in OPERATORS:
            yield Fault(
                f"{at}/operator", f"{requirement.operator!r} is not one of In, NotIn, Exists, DoesNotExist"
            )
        elif requirement.operator in ("In", "NotIn") and not requirement.values:
            yield Fault(f"{at}/values", f"{requirement.operator} needs values")
        elif requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            yield Fault(f"{at}/values", f"{requirement.operator} takes no values")


def selector_from(selector: LabelSelector, key_of: Callable[[str], str] = lambda key: key) -> Selector:
    """The selector; `key_of` gives the name under which an end carries the label."""
    nodes: list[Node] = [Compare(key_of(k), "==", v) for k, v in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        key, values = key_of(requirement.key), tuple(sorted(set(requirement.values)))
        match requirement.operator:
            case "In":
                nodes.append(In(key, values, False))
            case "NotIn":
                nodes.append(In(key, values, True))
            case "Exists":
                nodes.append(Has(key))
            case _:
                nodes.append(Not(Has(key)))
    if not nodes:
        return ALL
    return selector_of(nodes[0] if len(nodes) == 1 else And(tuple(nodes)))


def namespace_key(key: str) -> str:
    """Under which name an end carries a label of its namespace."""
    return NAMESPACE_LABEL if key in NAME_KEYS else f"{NAMESPACE_LABEL}/label/{key}"


def node_key(key: str) -> str:
    """Under which name a host carries a label of its node."""
    return f"node.causeway.dev/{key}"


def cluster_key(key: str) -> str:
    """Under which name an end carries a label of its cluster."""
    return f"cluster.causeway.dev/{key}"
