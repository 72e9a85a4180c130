"""YAML as Kubernetes reads it; what others read silently, or die of, is a fault with its line and pointer."""

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from api.input.yaml_text import YamlError, yaml_documents


def read(text: str) -> Any:
    ((document, faults),) = yaml_documents(text)
    assert not faults
    return document


def faults_of(text: str) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.message) for _, faults in yaml_documents(text) for fault in faults]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x85\ufeff"), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8).filter(lambda t: "\x00" not in t), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(VALUES, st.booleans())
def test_what_is_written_is_read_again(value: Any, is_flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=is_flow, allow_unicode=True)
    ((found, _),) = yaml_documents(text)
    assert found == value
    assert repr(found) == repr(yaml.safe_load(text))


@settings(max_examples=500, deadline=None)
@given(
    st.text(st.sampled_from("a1:-[]{}&*!?|>%@`'\"#,\n \t\\~<=.\x00é\ud800"), max_size=30)
    | st.text(max_size=30)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(YamlError):
        for _, faults in yaml_documents(text):
            assert all(fault.message.startswith(("line ", "<<: ")) for fault in faults)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8080:8090", "8080:8090"), ("1:9", "1:9"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("=", "="), ("0x1F", 31), ("010", 8), ("1_000", 1000), ("-0b11", -3),
        ("! 12", "12"), ("!!str 12", "12"), ("!!int '12'", 12), ("!!float 1", 1.0), ("1e3", "1e3"), ("1.5e+3", 1500.0), ("y", "y"), ("~", None), ("", None), ("0b_", "0b_"), ("089", "089"),
    ],
)  # fmt: skip
def test_a_plain_word_means_what_it_means_to_kubernetes(text: str, value: Any) -> None:
    assert read("- " + text) == [value]


def test_a_document_of_many_is_numbered_by_its_order_and_anchors_are_its_own() -> None:
    found = [document for document, _ in yaml_documents("a: &x 1\n---\n---\n- &x 2\n- *x\n...\n")]
    assert found == [{"a": 1}, None, [2, 2]]


def test_merged_objects_give_way_to_what_is_written() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {z: 3, x: 9}\none: {<<: *b, y: 5}\ntwo: {<<: [*b, *m]}\n"
    assert read(text) | {"base": 0, "more": 0} == {
        "base": 0,
        "more": 0,
        "one": {"y": 5, "x": 1},
        "two": {"x": 1, "y": 2, "z": 3},
    }


@pytest.mark.parametrize(
    ("text", "pointer", "said"),
    [
        ("spec:\n  a: 1\n  b: 2\n  a: 3\n", "/spec/a", "line 4: key 'a' stands twice"),
        ("l:\n- {}\n- {a/b: 1, a/b: 2}\n", "/l/1/a~1b", "line 3: key 'a/b' stands twice"),
        ("labels:\n  on: yes\n", "/labels", "line 2: the key 'on' is a truth value to YAML: put quotes around it"),
        ("~: 1", "", "line 1: the key '~' is null to YAML: put quotes around it"),
        ("a: !!python/object/apply:os.system [ls]", "/a", "line 1: the tag tag:yaml.org,2002:python/object/apply:os.system is not taken here"),
        ("a: !!binary aGk=", "/a", "line 1: the tag tag:yaml.org,2002:binary is not taken here"), ("a: !own x", "/a", "line 1: the tag !own is not taken here"),
        ("a: !!int x", "/a", "line 1: 'x' is no int"), ("a: .inf", "/a", "line 1: .inf is not a number that JSON can hold"), ("- .NaN", "/0", "line 1: .NaN is not a number that JSON can hold"),
        ("a: 1.0e+400", "/a", "line 1: 1.0e+400 is beyond what a number can hold"), (f"a: {2**64}", "/a", f"line 1: {2**64} is beyond 64 bits"), ("a: " + "9" * 5000, "/a", f"line 1: {'9' * 40} is beyond 64 bits"),
        ('a: "x\\0"', "/a", "line 1: holds what is no character of text"), ('"x\\0": 1', "/x\\x00", "line 1: the key holds what is no character of text"), ("<<: 1", "", "<<: an object, or a list of objects, is needed"),
    ],
)  # fmt: skip
def test_what_would_be_read_wrongly_is_a_fault_with_its_place(text: str, pointer: str, said: str) -> None:
    assert faults_of(text) == [(pointer, said)]


def test_every_fault_of_a_document_is_told() -> None:
    assert [pointer for pointer, _ in faults_of("a: 1\na: 2\nb: .inf\nc: {d: !x 1}\n")] == [
        "/a",
        "/b",
        "/c/d",
    ]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "line 2: "), ("a: b: c", "line 1: "), ("\tx: 1", "line 1: "), ("a: 'x", "line 1: "), ("a: \x07", "character"), ("{{ .Values.x }}", "is this a template"), ("? [a]\n: b", "line 1: a key must be text"),
        ("a: *b", "line 1: *b stands for nothing that is complete before it"), ("a: &a [*a]", "line 1: *a stands for nothing that is complete"), ("- &a [x]\n- {*a : 1}", "line 2: a key must be text"), (BOMB, "line 6: its anchors stand for more than 1000000 parts"),
        ("[" * 100_000, "line 1: nested too deep"), ("[" * 100_000 + "]" * 100_000, "nested too deep"), ("- " * 100_000 + "x", "nested too deep"), ("{a: " * 100_000 + "}" * 100_000, "nested too deep"),
        ("\n".join(" " * n + "a:" for n in range(3000)), "line 101: nested too deep"), ('a: "\\ud800"', "line 1: "), ("%YAML 9.9\n---\na", "line 1: "),
    ],
)  # fmt: skip
def test_what_is_no_yaml_or_too_much_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(YamlError) as refused:
        list(yaml_documents(text))
    assert str(refused.value).startswith("not YAML: ")
    assert said in str(refused.value)


def test_the_documents_before_a_broken_one_are_read() -> None:
    reading = yaml_documents("a: 1\n---\nb: [\n---\nc: 1\n")
    assert next(reading)[0] == {"a": 1}
    with pytest.raises(YamlError):
        next(reading)
