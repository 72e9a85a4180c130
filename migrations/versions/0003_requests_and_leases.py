"""Requests that may be sent again, leases of duties, and how far the log was compacted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
REVISION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WIDER = (
    ("counters", "value"),
    ("resources", "revision"),
    ("changes", "revision"),
    ("node_reports", "revision"),
)


def upgrade() -> None:
    """Only adds and widens: the previous release goes on running meanwhile."""
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers are as wide anyhow
        for table, column in WIDER:
            op.alter_column(table, column, type_=sa.BigInteger(), existing_nullable=False)
    op.create_table(
        "requests",
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("revision", REVISION, nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_requests")),
        comment="what became of a request, for who did not hear the answer and sends it again",
    )
    op.create_index(op.f("ix_requests_at"), "requests", ["at"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        comment="who does what only one replica may do; each new holder counts the epoch up",
    )
    op.bulk_insert(
        sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.Integer)),
        [{"name": "compacted", "value": 0}],
    )
    lease = {"name": "duties", "holder": "", "epoch": 0, "expires": "1970-01-01T00:00:00+00:00"}
    op.bulk_insert(sa.table("leases", *(sa.column(name) for name in lease)), [lease])
