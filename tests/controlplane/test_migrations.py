"""Migrations and models say the same, on both databases."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from controlplane.service import ControlPlane
from controlplane.store import tables


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
