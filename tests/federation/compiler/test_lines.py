"""What one rule becomes."""

from typing import Any

from federation.compiler.compiler import compile_tables
from federation.policy.tables import CompiledRule, RuleAction, Tables
from federation.policy.world import world_of
from federation.resources.codec import decode


def document(kind: str, spec: dict[str, Any], **meta: Any) -> Any:
    meta = {"name": "a", **meta}
    return decode({"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": meta, "spec": spec})


def ingress(*rules: dict[str, Any]) -> tuple[Tables, tuple[CompiledRule, ...]]:
    endpoint = document(
        "Endpoint",
        {"node": "n", "addresses": ["10.0.0.1"], "interface": "v"},
        cluster="c", namespace="x", labels={"app": "a"},
    )  # fmt: skip
    policy = document("GlobalNetworkPolicy", {"selector": "app == 'a'", "ingress": list(rules)})
    world = world_of([endpoint, policy])
    tables = compile_tables(world, world.endpoints)
    return tables, tables.classes[tables.subjects[endpoint.key]][0]


def test_a_rule_that_logs_is_told_of_once_whichever_of_its_lines_matches() -> None:
    ports = {"protocol": "TCP", "destination": {"ports": [80, "443:444", 8080]}}
    tables, lines = ingress({"action": "Log", **ports}, {"action": "Allow", **ports})
    logs = [line for line in lines if line.action is RuleAction.LOG]
    assert len(logs) == 3
    assert {line.next_tier for line in logs} == {3}, "the first line of the next rule"
    assert {tables.references[line.rule_id].index for line in logs} == {0}
    assert {tables.references[line.rule_id].index for line in lines[3:6]} == {1}
