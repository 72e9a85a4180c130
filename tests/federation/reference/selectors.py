"""Selectors, tiny and obvious: Kubernetes' label selectors, and Calico's language as its reference page describes it."""

import re
from collections.abc import Callable
from typing import Any

from tests.federation.reference.ends import Labels

Test = Callable[[Labels], bool]
TOKEN = re.compile(
    r"""[ \t]*(?: (?P<op>&&|\|\||==|!=|[!(){},]) | (?P<text>'[^']*'|"[^"]*") | (?P<word>[A-Za-z0-9_./-]+) )""",
    re.VERBOSE,
)


def labelled(selector: dict[str, Any] | None) -> Test:
    """Kubernetes' LabelSelector: everything in it must hold; empty or absent, everybody."""
    wanted = selector or {}

    def holds(labels: Labels) -> bool:
        if any(labels.get(key) != value for key, value in (wanted.get("matchLabels") or {}).items()):
            return False
        return all(_expression(each, labels) for each in wanted.get("matchExpressions") or [])

    return holds


def _expression(expression: dict[str, Any], labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(expression)


def calico(text: str) -> Test:
    """A selector of Calico's; the empty one is everybody's."""
    return _Reader(text).whole() if text.strip(" \t") else lambda labels: True


class _Reader:
    """Reads by recursive descent: or, and, not, one operation."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        rest = text.rstrip(" \t")
        while rest:
            found = TOKEN.match(rest)
            assert found, text
            self.tokens.append(found.group(found.lastgroup or ""))
            rest = rest[found.end() :]

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, wanted: str = "") -> str:
        token = self.tokens.pop(0)
        assert wanted in ("", token)
        return token

    def whole(self) -> Test:
        found = self.either()
        assert not self.tokens
        return found

    def either(self) -> Test:
        parts = [self.both()]
        while self.peek() == "||":
            self.take()
            parts.append(self.both())
        return lambda labels: any(part(labels) for part in parts)

    def both(self) -> Test:
        parts = [self.one()]
        while self.peek() == "&&":
            self.take()
            parts.append(self.one())
        return lambda labels: all(part(labels) for part in parts)

    def one(self) -> Test:
        if self.peek() == "!":
            self.take()
            inner = self.one()
            return lambda labels: not inner(labels)
        if self.peek() == "(":
            self.take()
            inner = self.either()
            self.take(")")
            return inner
        key = self.take()
        if self.peek() == "(":
            return self.call(key)
        return self.operation(key)

    def call(self, name: str) -> Test:
        self.take("(")
        if name == "has":
            key = self.take()
            self.take(")")
            return lambda labels: key in labels
        assert name == "all"
        self.take(")")
        return lambda labels: True

    def operation(self, key: str) -> Test:
        operator = self.take()
        if operator in ("not", "starts", "ends"):
            operator += " " + self.take()
        if operator in ("in", "not in", "notin"):
            members = self.members()
            if operator == "in":
                return lambda labels: key in labels and labels[key] in members
            return lambda labels: key not in labels or labels[key] not in members
        value = self.take()[1:-1]
        match operator:
            case "==":
                return lambda labels: labels.get(key) == value
            case "!=":
                return lambda labels: labels.get(key) != value
            case "contains":
                return lambda labels: key in labels and value in labels[key]
            case "starts with" | "startswith":
                return lambda labels: key in labels and labels[key].startswith(value)
            case "ends with" | "endswith":
                return lambda labels: key in labels and labels[key].endswith(value)
        raise AssertionError(operator)

    def members(self) -> set[str]:
        self.take("{")
        found = set()
        while self.peek() != "}":
            found.add(self.take()[1:-1])
            if self.peek() == ",":
                self.take()
        self.take("}")
        return found
