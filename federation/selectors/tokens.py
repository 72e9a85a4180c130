"""Tokens of the selector language, each with its position."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from federation.errors import SelectorError

MAX_IDENTIFIER = 512
WORD = re.compile(r"[A-Za-z0-9_./-]+")
OPERATORS = ("==", "!=", "&&", "||", "!", "(", ")", "{", "}", ",")
FUNCTIONS = re.compile(r"(has|all|global)\(")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: an operator itself, "word", "string", "has(", "all(", "global(" or "end". `value` has no quotes."""

    kind: str
    value: str
    position: int


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a selector, the last one "end". Raises SelectorError at what cannot start one."""
    position = 0
    while True:
        while position < len(text) and text[position] in " \t":
            position += 1
        if position == len(text):
            yield Token("end", "", position)
            return
        token, position = _next(text, position)
        yield token


def _next(text: str, start: int) -> tuple[Token, int]:
    if text[start] in "'\"":
        end = text.find(text[start], start + 1)
        if end < 0:
            raise SelectorError("string without its closing quote", text, start)
        return Token("string", text[start + 1 : end], start), end + 1
    for operator in OPERATORS:
        if text.startswith(operator, start):
            return Token(operator, operator, start), start + len(operator)
    if call := FUNCTIONS.match(text, start):
        return Token(call.group(), call.group(), start), call.end()
    if word := WORD.match(text, start):
        if len(word.group()) > MAX_IDENTIFIER:
            raise SelectorError(f"name longer than {MAX_IDENTIFIER} characters", text, start)
        return Token("word", word.group(), start), word.end()
    raise SelectorError(f"unexpected character {text[start]!r}", text, start)
