"""API tokens with rights of their own, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
REVISION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, length: int, comment: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.String(length=length), nullable=False, comment=comment)


def upgrade() -> None:
    """Only adds: the previous release goes on running meanwhile. It knows none of these tokens, and what it does is not in the audit log."""
    op.create_table(
        "api_tokens",
        _text("id", 40),
        _text("digest", 64),
        _text("name", 200),
        sa.Column("grants", sa.Text(), nullable=False, comment="JSON: roles, and where they hold"),
        _text("created", 40),
        _text("created_by", 200),
        _text("origin", 200, "the person behind whoever made it"),
        sa.Column("expires", sa.String(length=40), nullable=True, comment="null: never"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
    )
    op.create_index(op.f("ix_api_tokens_expires"), "api_tokens", ["expires"])
    op.create_table(
        "audit",
        sa.Column("sequence", REVISION, autoincrement=False, nullable=False),
        _text("at", 64),
        _text("actor", 200),
        _text("address", 60),
        _text("request", 100),
        _text("action", 40),
        _text("subject", 900),
        _text("before", 64),
        _text("after", 64),
        _text("hash", 64, "of this entry and the hash of the one before it"),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
        comment="who did what; only ever appended to",
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.bulk_insert(
        sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.Integer)),
        [{"name": "audit", "value": 0}],
    )
