"""Migrations and models say the same, on both databases; none takes away what the release before uses, which serves on meanwhile."""

import ast
import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

import migrations
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings
from controlplane.store import schema, tables
from controlplane.store.upkeep.check import check
from federation.errors import Unavailable
from tests.controlplane.test_feed import tier

VERSIONS = sorted((Path(migrations.__file__).parent / "versions").glob("0*.py"))
EXPANDING = {"create_table", "create_index", "add_column", "bulk_insert", "alter_column", "execute", "get_bind", "get_context", "f", "batch_alter_table"}  # fmt: skip
CONTRACTING = ("DROP ", "DELETE ", "TRUNCATE ", "RENAME ")
FUTURE = """
ALTER TABLE resources ADD COLUMN owner VARCHAR(100);
ALTER TABLE changes ADD COLUMN reason VARCHAR(100) DEFAULT 'none';
CREATE TABLE notes (id INTEGER PRIMARY KEY, words TEXT NOT NULL);
CREATE INDEX ix_changes_kind ON changes (kind);
INSERT INTO counters (name, value) VALUES ('notes', 0);
UPDATE alembic_version SET version_num = '9999';
"""
"""What a later release might do: it expands."""


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, tables.METADATA))


async def test_a_migrated_database_is_what_the_models_say(plane: ControlPlane) -> None:
    async with plane.database.transaction() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_what_is_migrated_changes_nothing(plane: ControlPlane) -> None:
    await plane.database.upgrade()
    async with plane.database.transaction() as connection:
        assert await connection.run_sync(differences) == []


def faults_of(source: str) -> list[str]:
    """What of a migration the release before could not live with."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [word for word in CONTRACTING if word in node.value]
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "op"):
            continue
        words = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.func.attr not in EXPANDING:
            found.append(node.func.attr)
        if node.func.attr == "alter_column" and not set(words) <= {"type_", "existing_type", "existing_nullable", "existing_server_default"}:  # fmt: skip
            found.append("alter_column of more than a type")
        if node.func.attr == "add_column":
            found += _needs_a_value(node)
    return found


def _needs_a_value(call: ast.Call) -> list[str]:
    """A column that the release before does not fill."""
    column = call.args[-1]
    assert isinstance(column, ast.Call)
    words = {k.arg: k.value for k in column.keywords}
    nullable = words.get("nullable")
    is_optional = not (isinstance(nullable, ast.Constant) and nullable.value is False)
    return [] if is_optional or "server_default" in words else ["add_column that must be given"]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_only_adds_and_widens(path: Path) -> None:
    assert faults_of(path.read_text()) == []


def test_what_takes_something_away_would_be_noticed() -> None:
    for line, fault in (
        ("op.drop_column('a', 'b')", "drop_column"),
        ("op.drop_table('a')", "drop_table"),
        ("op.rename_table('a', 'b')", "rename_table"),
        ("op.alter_column('a', 'b', new_column_name='c')", "alter_column of more than a type"),
        ("op.alter_column('a', 'b', nullable=False)", "alter_column of more than a type"),
        ("op.add_column('a', sa.Column('b', sa.Text(), nullable=False))", "add_column that must be given"),
        ("op.execute('DELETE FROM a')", "DELETE "),
    ):
        assert faults_of(line) == [fault]
    assert faults_of("op.add_column('a', sa.Column('b', sa.Text(), nullable=False, server_default=''))") == []


async def test_this_release_serves_on_while_and_after_a_later_one_upgrades_the_schema(
    database_url: str,
) -> None:
    """Under load: no acknowledged write is lost, none fails but for a moment, and another replica of this release still starts."""
    settings = Settings(database_url=database_url)
    async with ControlPlane.open(settings, SystemClock()) as plane, ControlPlane.open(settings, SystemClock()) as upgrading:  # fmt: skip
        acknowledged: list[str] = []
        is_done = False

        async def write() -> None:
            number = 0
            while not is_done:
                try:
                    await plane.change([tier(f"t{number}")], actor=inside("t"))
                except Unavailable:
                    continue
                acknowledged.append(f"t{number}")
                number += 1

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(write())
            for wanted in (10, 30):
                while len(acknowledged) < wanted:  # noqa: ASYNC110 - others' progress
                    await asyncio.sleep(0.01)
                if wanted == 10:
                    async with upgrading.database.transaction() as connection:
                        for statement in filter(str.strip, FUTURE.split(";")):
                            await connection.execute(text(statement))
            is_done = True
        async with ControlPlane.open(settings, SystemClock()) as fresh:
            await fresh.change([tier("fresh")], actor=inside("t"))
            names = {key.name for key in fresh.hub.objects if key.kind == "Tier"}
            assert names == {*acknowledged, "fresh"}
        assert (await check(plane.database)).faults == ()
        async with plane.database.reading() as connection:
            assert await connection.run_sync(schema.version) == "9999"
