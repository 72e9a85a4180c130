"""The tree of a selector: what it means (`matches`), what it mentions (`keys`), how it is written (`text`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

NAMESPACE_LABEL = "projectcalico.org/namespace"

Operator = Literal["==", "!=", "contains", "starts with", "ends with"]


@dataclass(frozen=True, slots=True)
class All:
    """`all()`."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class Global:
    """`global()`: what has no namespace."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the namespace's label is absent."""
        return NAMESPACE_LABEL not in labels


@dataclass(frozen=True, slots=True)
class Has:
    """`has(key)`."""

    key: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the label is there, with whatever value."""
        return self.key in labels


@dataclass(frozen=True, slots=True)
class Compare:
    """`key <operator> "value"`. A missing label satisfies `!=` alone."""

    key: str
    operator: Operator
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Compare the label's value."""
        actual = labels.get(self.key)
        if actual is None:
            return self.operator == "!="
        match self.operator:
            case "==":
                return actual == self.value
            case "!=":
                return actual != self.value
            case "contains":
                return self.value in actual
            case "starts with":
                return actual.startswith(self.value)
            case "ends with":
                return actual.endswith(self.value)


@dataclass(frozen=True, slots=True)
class In:
    """`key in {…}` or, negated, `key not in {…}`, which a missing label satisfies. `values` is sorted."""

    key: str
    values: tuple[str, ...]
    is_negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Look the label's value up."""
        actual = labels.get(self.key)
        return (actual is not None and actual in self.values) is not self.is_negated


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`."""

    operand: "Node"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """The opposite."""
        return not self.operand.matches(labels)


@dataclass(frozen=True, slots=True)
class And:
    """`a && b && …`, two operands or more."""

    operands: tuple["Node", ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every operand does."""
        return all(operand.matches(labels) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """`a || b || …`, two operands or more."""

    operands: tuple["Node", ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether any operand does."""
        return any(operand.matches(labels) for operand in self.operands)


Node = All | Global | Has | Compare | In | Not | And | Or


def text_of(node: Node) -> str:
    """Canonical text: parsing it gives the same tree."""
    match node:
        case All():
            return "all()"
        case Global():
            return "global()"
        case Has(key):
            return f"has({key})"
        case Compare(key, operator, value):
            return f"{key} {operator} {_quoted(value)}"
        case In(key, values, is_negated):
            return f"{key} {'not in' if is_negated else 'in'} {{{', '.join(map(_quoted, values))}}}"
        case Not(operand):
            return (
                f"!{text_of(operand)}"
                if isinstance(operand, All | Global | Has | Compare | In | Not)
                else f"!({text_of(operand)})"
            )
        case And(operands):
            return " && ".join(f"({text_of(o)})" if isinstance(o, And | Or) else text_of(o) for o in operands)
        case Or(operands):
            return " || ".join(f"({text_of(o)})" if isinstance(o, And | Or) else text_of(o) for o in operands)


def keys_of(node: Node) -> frozenset[str]:
    """Names of all labels that the answer may depend on."""
    match node:
        case All():
            return frozenset()
        case Global():
            return frozenset({NAMESPACE_LABEL})
        case Has(key) | Compare(key, _, _) | In(key, _, _):
            return frozenset({key})
        case Not(operand):
            return keys_of(operand)
        case And(operands) | Or(operands):
            return frozenset().union(*map(keys_of, operands))


def renamed(node: Node, key_of: Callable[[str], str]) -> Node:
    """The same tree over other labels: each key becomes what `key_of` says."""
    match node:
        case Has(key):
            return Has(key_of(key))
        case Compare(key, operator, value):
            return Compare(key_of(key), operator, value)
        case In(key, values, is_negated):
            return In(key_of(key), values, is_negated)
        case Not(operand):
            return Not(renamed(operand, key_of))
        case And(operands):
            return And(tuple(renamed(operand, key_of) for operand in operands))
        case Or(operands):
            return Or(tuple(renamed(operand, key_of) for operand in operands))
    return node


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'
