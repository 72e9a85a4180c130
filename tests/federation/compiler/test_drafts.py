"""Lists hold no rule that an earlier one leaves nothing to, and every rule that decides something."""

from ipaddress import IPv4Address

import pytest

from federation.compiler.compiler import compile_tables
from federation.identities import CLUSTER_LABEL
from federation.kinds.endpoint import Endpoint, EndpointSpec, EndpointStatus
from federation.policy import model
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.resources.metadata import Metadata, ObjectKey, Resource
from federation.rules.model import IcmpMatch
from federation.selectors import parse

WEB = model.Match(kinds=model.LABELLED, selector=parse("app == 'web'"))
ENDPOINT: Endpoint = Resource(
    kind="Endpoint", metadata=Metadata(name="e", cluster="c1", namespace="n"), spec=EndpointSpec(node="x", addresses=(IPv4Address("10.0.0.1"),)),
    status=EndpointStatus(),
)  # fmt: skip


def rule(action: str, peer: model.Match, *ports: int | str, index: int = 0, **more: object) -> model.Rule:
    protocol = 6 if ports else None
    known = {
        "action": action,
        "section": "ingress",
        "protocol": protocol,
        "source": peer,
        "destination": model.Match(ports=ports),
    }
    return model.Rule(**{**known, "index": index, **more})  # type: ignore[arg-type]


def policy(name: str, *rules: model.Rule) -> model.Policy:
    whom = model.Match(kinds=model.WORKLOADS, selector=parse(f'{CLUSTER_LABEL} == "c1"'))
    key = ObjectKey("GlobalNetworkPolicy", "", "", name)
    return model.Policy(
        key=key,
        tier="default",
        order=1.0,
        subject=whom,
        isolates=frozenset({Direction.INGRESS}),
        ingress=rules,
    )


def reasons(*policies: model.Policy) -> list[tuple[str, int | None]]:
    """(policy, rule) of each line; a tier's end is ("", None)."""
    world = World(policies=policies, endpoints={ENDPOINT.key: ENDPOINT})
    tables = compile_tables(world, [ENDPOINT.key])
    found = [tables.references[line.rule_id] for line in tables.classes[0][Direction.INGRESS]]
    return [(reference.policy.name if reference.policy else "", reference.index) for reference in found]


END = ("", None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("Allow", WEB, 80), rule("Allow", WEB, 80)),
        (rule("Deny", WEB), rule("Allow", WEB, 80)),
        (rule("Allow", WEB, "70:90"), rule("Deny", WEB, 80)),
        (rule("Pass", WEB, 80), rule("Deny", WEB, 80)),
        (rule("Allow", model.Match(), 80), rule("Deny", WEB, 80)),
    ],
)
def test_a_rule_that_an_earlier_one_takes_all_of_is_not_written(
    first: model.Rule, second: model.Rule
) -> None:
    assert reasons(policy("a", first), policy("b", second)) == [("a", 0), END]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("Allow", WEB, 80), rule("Allow", WEB, 81)),
        (rule("Allow", WEB, 80), rule("Deny", WEB)),
        (rule("Allow", WEB, 80), rule("Deny", WEB, 80, protocol=17)),
        (rule("Allow", WEB, 80), rule("Deny", model.Match(), 80)),
        (rule("Allow", WEB, "80:90"), rule("Deny", WEB, "70:85")),
        (rule("Allow", WEB, not_protocol=6), rule("Deny", WEB)),
        (
            rule("Allow", WEB, protocol=1, not_icmp=IcmpMatch(type=8)),
            rule("Deny", WEB, protocol=1, icmp=IcmpMatch(type=8)),
        ),
        (rule("Allow", WEB, protocol=1, icmp=IcmpMatch(type=8)), rule("Deny", WEB, protocol=1)),
    ],
)
def test_a_rule_that_decides_something_of_its_own_is_written(first: model.Rule, second: model.Rule) -> None:
    assert reasons(policy("a", first), policy("b", second)) == [("a", 0), ("b", 0), END]


def test_nothing_is_written_after_a_rule_that_takes_everything() -> None:
    assert reasons(policy("a", rule("Deny", model.Match())), policy("b", rule("Allow", WEB, 80))) == [
        ("a", 0)
    ]


def test_a_rule_that_others_may_jump_over_takes_nothing() -> None:
    jumped = rule("Allow", WEB, protocol=1, icmp=IcmpMatch(type=8), not_icmp=IcmpMatch(type=8, code=1))
    later = rule("Deny", WEB, protocol=1, icmp=IcmpMatch(type=8))
    assert [name for name, _ in reasons(policy("a", jumped), policy("b", later))] == ["a", "a", "b", ""]
