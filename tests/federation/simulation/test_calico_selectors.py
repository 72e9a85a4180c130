"""Calico's selector language as users meet it: in policies, judged. One sentence each (its page: selectors)."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.errors import InvalidInput

Ask = Callable[..., Any]
BOTH, A, B, NONE = ["Deny", "Deny"], ["Deny", "Allow"], ["Allow", "Deny"], ["Allow", "Allow"]


def pod(name: str, address: str, **labels: str) -> str:
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "z", "labels": labels}, "spec": {"nodeName": "n1"},
         "status": {"podIP": address}}
    )  # fmt: skip


PODS = (
    pod("one", "10.0.2.1", which="one", app="web-front", empty="", **{"in": "x", "has": "y", "a.b/c-d_e": "z", "not": "n"}),
    pod("two", "10.0.2.2", which="two", app="db", tier="back"),
)  # fmt: skip


def policy(selector: str) -> str:
    return yaml.safe_dump(
        {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "z"},
         "spec": {"selector": selector, "ingress": []}}
    )  # fmt: skip


def selected(ask: Ask, selector: str) -> list[str]:
    said = ask(*PODS, policy(selector))
    return [said("x/a", to) for to in ("z/one", "z/two")]


MEANT = [
    ("", BOTH), (" \t", BOTH), ("all()", BOTH), ("all( )", BOTH), ("  all()  ", BOTH), ("!all()", NONE), ("!!all()", BOTH), ("!!!all()", NONE),
    ("app == 'web-front'", A), ('app == "db"', B), ("app=='db'", B), ("\tapp\t==\t'db'\t", B), ("app != 'db'", A),
    # a missing label
    ("tier != 'back'", A), ("tier not in {'back'}", A), ("tier == ''", NONE), ("tier in {'', 'back'}", B), ("tier contains ''", B), ("tier starts with ''", B),
    ("tier ends with ''", B), ("has(tier)", B), ("!has(tier)", A), ("empty == ''", A), ("has(empty)", A), ("empty != ''", B),
    # sets
    ("app in {'db', 'x'}", B), ("app in {'db',}", B), ("app in{'db'}", B), ("app in {}", NONE), ("app not in {}", BOTH), ("app notin {'db'}", A),
    ("app  not  in  { 'db' , }", A), ("app not\tin{'db'}", A), ("app in {'db', 'db'}", B), ("tier not in {}", BOTH),
    # parts of values
    ("app contains 'front'", A), ("app contains'b'", BOTH), ("app starts with 'web'", A), ("app startswith 'd'", B), ("app starts  with'd'", B),
    ("app ends with 'front'", A), ("app endswith 'b'", B),
    # precedence
    ("has(tier) || has(empty) && app == 'db'", B), ("(has(tier) || has(empty)) && app == 'db'", B), ("app == 'db' && has(empty) || has(empty)", A),
    ("!app == 'db' && has(empty)", A), ("!(app == 'db' && has(empty))", BOTH), ("! has(tier) || ! has(empty)", BOTH), ("((app == 'db'))", B),
    # names that are operators, and all that a name may hold
    ("in == 'x'", A), ("in in {'x'}", A), ("has == 'y'", A), ("has(has)", A), ("has( in )", A), ("not not in {'n'}", B), ("a.b/c-d_e == 'z'", A),
    ("has(a.b/c-d_e)", A), ("contains contains 'contains'", NONE),
    # literals have no escapes
    (r"app != '\'", BOTH), ("app in {\"'\", '\"', 'db'}", B), ("app != 'a\nb'", BOTH), ("app == 'DB'", NONE),
    ("a" * 512 + " != 'x'", BOTH), ("app != '" + "x" * 1014 + "'", BOTH),
]  # fmt: skip


@pytest.mark.parametrize(
    ("selector", "denied"), MEANT, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_selector_selects_what_its_text_says(ask: Ask, selector: str, denied: list[str]) -> None:
    assert selected(ask, selector) == denied


WRONG = [
    "has (x)", "all ()", "global ()", "a ==\n'b'", "a == 'b'\n", "a = 'b'", "a == b", "'b' == a", "a", "a b", "!", "a == 'b' &", "a == 'b' |", "a == 'b' & c == 'd'",
    "a != ||", "a in {'', ||", "a in ''", "a in {'x' 'y'}", "a in {,}", "a in {'x',,}", "'open", "\"open'", "(", "(a == 'b'", ")", "()", "%", "a == 'b' && %",
    "has(a) &&", "|| has(a)", "has()", "has(a b)", "has('a')", "all() all()", "a starts 'b'", "a ends b", "a not 'b'", "a ==", "ä == 'b'", "a == 'it''s'",
    "a" * 513 + " == 'x'", "a\u00a0== 'b'", "a\r== 'b'", "global()",
]  # fmt: skip


@pytest.mark.parametrize("selector", WRONG, ids=lambda value: value[:30])
def test_what_is_no_selector_is_refused_at_its_place(ask: Ask, selector: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(policy(selector))
    assert [fault.pointer.split(": ", 1)[-1] for fault in caught.value.faults] == ["/spec/selector"]


def test_1024_characters_are_enough_and_1025_are_refused(ask: Ask) -> None:
    longest = "app != '" + "x" * 1015 + "'"
    assert (len(longest), selected(ask, longest)) == (1024, BOTH)
    with pytest.raises(InvalidInput, match="longer than 1024"):
        ask(policy(longest.replace("app", "apps")))


def test_labels_that_calico_gives_are_selectable(ask: Ask) -> None:
    assert (
        selected(ask, "projectcalico.org/namespace == 'z' && projectcalico.org/serviceaccount == 'default'")
        == BOTH
    )
    assert selected(ask, "projectcalico.org/orchestrator == 'k8s'") == BOTH


def test_labels_of_the_namespace_go_by_their_prefix(ask: Ask) -> None:
    said = ask(yaml.safe_dump({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "p"},
        "spec": {"selector": "pcns.tenant == 'blue' && pcsa.kind == 'machine' && pcns.projectcalico.org/name == 'y'", "ingress": []},
    }))  # fmt: skip
    assert [said("x/a", to) for to in ("y/a", "y/b", "x/b")] == ["Deny", "Allow", "Allow"]
