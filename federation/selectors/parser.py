"""The selector language's parser: `||` binds loosest, then `&&`, then `!`, which binds to one operation only.

Grammar and meaning: Calico's reference, "Selectors". Only space and tab are white space; strings have no escapes; a name
may be any word, the operators' names too; the empty text is `all()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from federation.errors import SelectorError
from federation.selectors.tokens import Token, tokens
from federation.selectors.tree import (
    All,
    And,
    Compare,
    Global,
    Has,
    In,
    Node,
    Not,
    Operator,
    Or,
    keys_of,
    text_of,
)

MAX_LENGTH = 1024
"""Characters that a user may write (as in Calico's API)."""
MAX_DEPTH = 50
"""Brackets and negations inside each other."""
WORD_OPERATORS: dict[str, tuple[str, ...]] = {
    "in": ("in",),
    "notin": ("notin",),
    "not": ("not", "in"),
    "contains": ("contains",),
    "startswith": ("startswith",),
    "starts": ("starts", "with"),
    "endswith": ("endswith",),
    "ends": ("ends", "with"),
}
COMPARISONS: dict[str, Operator] = {
    "contains": "contains",
    "startswith": "starts with",
    "starts": "starts with",
    "endswith": "ends with",
    "ends": "ends with",
}


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Equal when the canonical texts are."""

    node: Node = field(compare=False)
    text: str
    """Canonical."""

    @property
    def keys(self) -> frozenset[str]:
        """Names of the labels that it mentions."""
        return keys_of(self.node)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it selects what has these labels."""
        return self.node.matches(labels)


def selector_of(node: Node) -> Selector:
    """The selector that a tree stands for."""
    return Selector(node, text_of(node))


ALL = selector_of(All())


@lru_cache(maxsize=65536)
def parse(text: str) -> Selector:
    """The selector that `text` says. Raises SelectorError with the position of the fault."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"longer than {MAX_LENGTH} characters", text[:60], 60 - 1)
    parser = _Parser(text)
    if parser.token.kind == "end":
        return ALL
    node = parser.disjunction(0)
    if parser.token.kind != "end":
        raise parser.fault("expected && or || or the end")
    return selector_of(node)


def equals(key: str, value: str) -> Selector:
    """`key == "value"`."""
    return selector_of(Compare(key, "==", value))


def not_(selector: Selector) -> Selector:
    """The opposite."""
    return selector_of(Not(selector.node))


def and_(left: Selector, right: Selector) -> Selector:
    """What both select."""
    if isinstance(left.node, All):
        return right
    if isinstance(right.node, All):
        return left
    parts = [
        part
        for side in (left.node, right.node)
        for part in (side.operands if isinstance(side, And) else (side,))
    ]
    unique = tuple(dict.fromkeys(parts))
    return selector_of(unique[0] if len(unique) == 1 else And(unique))


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.rest = tokens(text)
        self.token: Token = next(self.rest)

    def fault(self, reason: str) -> SelectorError:
        found = "the end" if self.token.kind == "end" else repr(self.token.value)
        return SelectorError(f"{reason}, found {found}", self.text, self.token.position)

    def take(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            raise self.fault(f"expected {what}")
        return self.advance()

    def advance(self) -> Token:
        taken = self.token
        self.token = next(self.rest)
        return taken

    def disjunction(self, depth: int) -> Node:
        operands = [self.conjunction(depth)]
        while self.token.kind == "||":
            self.advance()
            operands.append(self.conjunction(depth))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def conjunction(self, depth: int) -> Node:
        operands = [self.operation(depth)]
        while self.token.kind == "&&":
            self.advance()
            operands.append(self.operation(depth))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def operation(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.fault(f"nested deeper than {MAX_DEPTH}")
        match self.token.kind:
            case "!":
                self.advance()
                return Not(self.operation(depth + 1))
            case "(":
                self.advance()
                inner = self.disjunction(depth + 1)
                self.take(")", "')'")
                return inner
            case "has(":
                self.advance()
                key = self.take("word", "a label's name").value
                self.take(")", "')'")
                return Has(key)
            case "all(" | "global(" as call:
                self.advance()
                self.take(")", "')'")
                return All() if call == "all(" else Global()
            case "word":
                return self.comparison(self.advance().value)
        raise self.fault("expected a label's name, has(), all(), global(), '!' or '('")

    def comparison(self, key: str) -> Node:
        operator = self.token
        if operator.kind in ("==", "!="):
            self.advance()
            return Compare(
                key, "==" if operator.kind == "==" else "!=", self.take("string", "a string in quotes").value
            )
        words = WORD_OPERATORS.get(operator.value) if operator.kind == "word" else None
        if words is None:
            raise self.fault("expected ==, !=, in, not in, contains, starts with or ends with")
        self.advance()
        for word in words[1:]:
            if self.token.value != word:
                raise self.fault(f"expected {word!r}")
            self.advance()
        if operator.value in COMPARISONS:
            return Compare(key, COMPARISONS[operator.value], self.take("string", "a string in quotes").value)
        return In(key, self.members(), operator.value != "in")

    def members(self) -> tuple[str, ...]:
        self.take("{", "'{'")
        values = set()
        while self.token.kind == "string":
            values.add(self.advance().value)
            if self.token.kind != ",":
                break
            self.advance()
        self.take("}", "'}' or a string in quotes")
        return tuple(sorted(values))
