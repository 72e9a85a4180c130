"""The check of the benchmark's tables agrees with right tables, and notices wrong ones."""

from dataclasses import replace

from benchmarks.policy.verdicts import compare
from benchmarks.policy.worlds import made
from federation.compiler.compiler import compile_tables
from federation.policy.tables import CompiledRule, RuleAction

CASE = made(200, 80)
TABLES = compile_tables(CASE.world, CASE.local)


def test_tables_engine_and_documents_say_the_same() -> None:
    said = compare(CASE, TABLES, 1_500)
    assert 0 < said.allowed < said.asked
    assert (said.of_engine, said.of_documents) == (0, 0)


def test_tables_that_allow_too_much_are_noticed() -> None:
    said = compare(CASE, replace(TABLES, classes=tuple(((), ()) for _ in TABLES.classes)), 1_500)
    assert said.of_engine == said.of_documents > 0


def test_tables_that_deny_too_much_are_noticed() -> None:
    none = (CompiledRule(action=RuleAction.DENY),)
    said = compare(CASE, replace(TABLES, classes=tuple((none, none) for _ in TABLES.classes)), 1_500)
    assert said.of_engine == said.of_documents > 0
