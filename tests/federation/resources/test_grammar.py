"""Names and labels as Kubernetes' API takes them, and what is said of others."""

import pytest

from federation.resources.grammar import (
    DNS_LABEL,
    LABEL_KEY,
    LABEL_VALUE,
    NAME,
    label_faults,
    name_faults,
    quotes_missing,
)


@pytest.mark.parametrize("text", ["a", "1", "a.b", "a-b.c1", "a" * 253])
def test_a_name_is_taken(text: str) -> None:
    assert NAME.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["", "A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a-.b", "a/b", "a\n", "é", "a" * 254]
)
def test_what_is_no_name_is_not(text: str) -> None:
    assert not NAME.fullmatch(text)


def test_a_namespace_is_one_label_of_63_characters() -> None:
    assert DNS_LABEL.fullmatch("a" * 63)
    assert not DNS_LABEL.fullmatch("a" * 64)
    assert [fault.pointer for fault in name_faults("namespace", "a.b")] == ["/metadata/namespace"]
    assert not list(name_faults("name", "a.b"))


def test_a_label_has_its_grammar() -> None:
    for key in ("a", "A_b.c", "x.y/A", "x/" + "a" * 63):
        assert LABEL_KEY.fullmatch(key), key
    for key in ("", "/a", "a/", "a/b/c", "X/a", "x..y/a", "a" * 64, "x y", "a\n"):
        assert not LABEL_KEY.fullmatch(key), key
    assert LABEL_VALUE.fullmatch("")
    assert not LABEL_VALUE.fullmatch("a" * 64)


def test_a_fault_of_a_label_has_its_pointer_and_quotes_little() -> None:
    (key, value) = label_faults("/metadata/labels", {"a b": "x", "p/q": "-" * 100_000})
    assert (key.pointer, key.message) == ("/metadata/labels/a b", "not a label key")
    assert value.pointer == "/metadata/labels/p~1q"
    assert len(value.message) < 200


def test_missing_quotes_are_named_for_what_yaml_does() -> None:
    assert "yes, no, on, off" in quotes_missing(True)
    assert quotes_missing(1.1) == " (put quotes around it)"
    assert quotes_missing([]) == ""
