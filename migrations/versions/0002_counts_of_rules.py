"""Counts of rules, as nodes tell them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only adds: the previous release goes on running meanwhile."""
    op.create_table(
        "rule_counts",
        sa.Column("policy", sa.String(length=860), nullable=False, comment="kind and path"),
        sa.Column("section", sa.String(length=40), nullable=False),
        sa.Column("rule", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cluster", sa.String(length=253), nullable=False),
        sa.Column("node", sa.String(length=253), nullable=False),
        sa.Column("packets", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("policy", "section", "rule", "cluster", "node", name=op.f("pk_rule_counts")),
        comment="what each node's kernel has counted of each rule, as it told last",
    )
