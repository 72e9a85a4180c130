"""YAML as Kubernetes reads it, strictly, built straight from libyaml's events: no recursion to overflow, and every fault has its
pointer and line.

As everywhere in Kubernetes, `yes`, `no`, `on` and `off` are truth values unless quoted; unlike in old YAML, dates and `1:30` are
text. Tags that would make objects are refused. An anchor's expansion is paid for: a small text cannot stand for a huge document.
"""

import re
from collections.abc import Callable, Iterator
from sys import intern
from typing import Any

import yaml

from api.input.json_text import LARGEST, MAX_DEPTH, SMALLEST, TOO_DEEP, UNFIT, escaped
from federation.errors import Fault

MAX_EXPANDED = 1_000_000
"""Parts that the aliases of one document may stand for."""
WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
NUMERIC = frozenset("0123456789+-.")
INTEGER = re.compile(r"[-+]?(?:0b_*[01][01_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)")
FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")  # fmt: skip
TAGGED: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),),
}  # fmt: skip
NOTHING: Any = object()
"""Where a key is due."""
Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text stops being YAML, or reading on would be unwise. `line` counts from 1; 0 where there is none."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"not YAML: line {line}: {reason}" if line else f"not YAML: {reason}")


class _Refused(ValueError):
    """A scalar that cannot be taken, and why."""


class _Open:
    """A list or an object whose end has not come yet."""

    __slots__ = ("anchor", "before", "key", "merges", "value")

    def __init__(self, value: Any, anchor: str | None, before: int) -> None:
        self.value = value
        self.anchor = anchor
        self.before = before
        self.key: Any = NOTHING
        self.merges: list[dict[str, Any]] = []


def yaml_documents(text: str) -> Iterator[tuple[Any, list[Fault]]]:
    """Each document of a text, with its faults. Raises YamlError where the text cannot be read on."""
    builder = _Builder()
    try:
        parser = Parser(text)
        while (event := parser.get_event()) is not None:
            step = builder.steps.get(type(event))
            if step is not None:
                step(event)
            elif type(event) is yaml.DocumentEndEvent:
                yield builder.root, builder.faults
                builder = _Builder()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or error.context), mark.line + 1 if mark else 0) from None
    except UnicodeEncodeError:
        raise YamlError("it holds what is no character of text") from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or str(error)
        raise YamlError(f"{reason} at character {getattr(error, 'position', 0)}") from None


class _Builder:
    """One document in the making."""

    def __init__(self) -> None:
        self.root: Any = None
        self.faults: list[Fault] = []
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.parts = 0
        self.expanded = 0
        self.steps: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self.scalar,
            yaml.MappingStartEvent: lambda event: self.begin({}, event, "map"),
            yaml.SequenceStartEvent: lambda event: self.begin([], event, "seq"),
            yaml.MappingEndEvent: self.end,
            yaml.SequenceEndEvent: self.end,
            yaml.AliasEvent: self.alias,
        }

    def scalar(self, event: Any) -> None:
        """A value or a key."""
        self.parts += 1
        text = event.value
        if self.open and self.open[-1].key is NOTHING and type(self.open[-1].value) is dict:
            self.key(event)
            return
        try:
            value = _scalar(event)
        except _Refused as refused:
            value = text
            self.fault(str(refused), event)
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self.put(value)

    def key(self, event: Any) -> None:
        """A key: text; numbers are taken as they are written."""
        text, is_plain = event.value, event.implicit[0]
        if event.anchor:
            self.anchors[event.anchor] = (text, 1)
        if is_plain and text in WORDS:
            what = "null" if WORDS[text] is None else "a truth value"
            self.fault(f"the key {text!r} is {what} to YAML: put quotes around it", event)
        self.take_key(text, event, is_merge=is_plain and text == "<<")

    def take_key(self, text: str, event: Any, *, is_merge: bool = False) -> None:
        """Await the value of that key."""
        top = self.open[-1]
        if is_merge:
            top.key = top.merges
            return
        top.key = intern(text)
        if text in top.value:
            self.fault(f"key {text!r} stands twice", event)
        elif UNFIT.search(text):
            self.fault("the key holds what is no character of text", event)

    def put(self, value: Any) -> None:
        """A value is complete."""
        if not self.open:
            self.root = value
            return
        top = self.open[-1]
        if type(top.value) is list:
            top.value.append(value)
            return
        if top.key is top.merges:
            listed = value if isinstance(value, list) else [value]
            top.merges += [each for each in listed if isinstance(each, dict)]
            if len(listed) != sum(isinstance(each, dict) for each in listed):
                self.faults.append(Fault(self.pointer(), "<<: an object, or a list of objects, is needed"))
        else:
            top.value[top.key] = value
        top.key = NOTHING

    def begin(self, value: Any, event: Any, kind: str) -> None:
        """A list or an object begins."""
        self.parts += 1
        if self.open and self.open[-1].key is NOTHING and type(self.open[-1].value) is dict:
            reason = (
                "a key must be text, not a list or an object (is this a template that was not filled in?)"
            )
            raise YamlError(reason, event.start_mark.line + 1)
        if len(self.open) >= MAX_DEPTH:
            raise YamlError(TOO_DEEP, event.start_mark.line + 1)
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{kind}"):
            self.fault(f"the tag {event.tag} is not taken here", event)
        self.open.append(_Open(value, event.anchor, self.parts))

    def end(self, _event: Any) -> None:
        """The innermost list or object is complete."""
        done = self.open.pop()
        for merged in done.merges:
            for key, value in merged.items():
                done.value.setdefault(key, value)
        if done.anchor:
            self.anchors[done.anchor] = (done.value, self.parts - done.before + 1)
        self.put(done.value)

    def alias(self, event: Any) -> None:
        """What an anchor stands for, once more."""
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise YamlError(f"*{event.anchor} stands for nothing that is complete before it", line)
        value, parts = self.anchors[event.anchor]
        self.parts += parts
        self.expanded += parts
        if self.expanded > MAX_EXPANDED:
            raise YamlError(f"its anchors stand for more than {MAX_EXPANDED} parts", line)
        top = self.open[-1] if self.open else None
        if top is None or type(top.value) is list or top.key is not NOTHING:
            self.put(value)
        elif isinstance(value, str):
            self.take_key(value, event)
        else:
            raise YamlError("a key must be text", line)

    def fault(self, reason: str, event: Any) -> None:
        """Note a fault and read on."""
        self.faults.append(Fault(self.pointer(), f"line {event.start_mark.line + 1}: {reason}"))

    def pointer(self) -> str:
        """Where we are."""
        return "".join(
            f"/{len(each.value)}" if type(each.value) is list else f"/{escaped(each.key)}" if isinstance(each.key, str) else ""
            for each in self.open
        )  # fmt: skip


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.tag == "!":
        return text
    if event.tag is not None:
        return _tagged(event.tag, text)
    if not event.implicit[0]:
        if event.style == '"' and UNFIT.search(text):
            raise _Refused("holds what is no character of text")
        return text
    if text in WORDS:
        return WORDS[text]
    return _number(text) if text[0] in NUMERIC else text


def _tagged(tag: str, text: str) -> Any:
    name = tag.removeprefix("tag:yaml.org,2002:")
    if name not in TAGGED:
        raise _Refused(f"the tag {tag} is not taken here")
    if name == "str":
        return text
    value = WORDS[text] if text in WORDS else _number(text)
    if type(value) not in TAGGED[name]:
        raise _Refused(f"{text[:40]!r} is no {name}")
    return float(value) if name == "float" else value


def _number(text: str) -> Any:
    if INTEGER.fullmatch(text):
        digits = text.replace("_", "").lstrip("+")
        sign, bare = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
        base = 8 if len(bare) > 1 and bare[0] == "0" and bare[1] not in "bx" else 0
        value = sign * int(bare, base) if len(bare) < 70 else LARGEST
        if not SMALLEST < value < LARGEST:
            raise _Refused(f"{text[:40]} is beyond 64 bits")
        return value
    if FLOAT.fullmatch(text):
        if text.lower().endswith(("inf", "nan")):
            raise _Refused(f"{text} is not a number that JSON can hold")
        number = float(text.replace("_", ""))
        if number in (float("inf"), float("-inf")):
            raise _Refused(f"{text[:40]} is beyond what a number can hold")
        return number
    return text
