"""The authority, the certificates of nodes, and what join tokens are bound to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _text(name: str, length: int, comment: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.String(length=length), nullable=False, comment=comment)


def upgrade() -> None:
    """Only adds: the previous release goes on running meanwhile."""
    op.add_column(
        "join_tokens",
        sa.Column(
            "role", sa.String(length=10), nullable=False, server_default="node", comment="node or relay"
        ),
    )
    op.add_column("join_tokens", sa.Column("os", sa.String(length=20), nullable=True, comment="null: any"))
    op.add_column(
        "join_tokens",
        sa.Column("prefix", sa.String(length=60), nullable=True, comment="where from; null: anywhere"),
    )
    op.add_column(
        "join_tokens", sa.Column("node", sa.String(length=253), nullable=True, comment="its name; null: any")
    )
    op.add_column("join_tokens", sa.Column("created", sa.String(length=40), nullable=True))
    op.add_column("join_tokens", sa.Column("created_by", sa.String(length=200), nullable=True))
    op.create_table(
        "token_uses",
        _text("token", 40),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        _text("cluster", 253),
        _text("node", 253),
        _text("source", 60, "address that the request came from"),
        _text("at", 40),
        sa.PrimaryKeyConstraint("token", "sequence", name=op.f("pk_token_uses")),
        comment="who used a join token; outlives it",
    )
    op.create_index(op.f("ix_token_uses_at"), "token_uses", ["at"])
    op.create_table(
        "authorities",
        _text("id", 40),
        _text("domain", 253, "SPIFFE trust domain"),
        sa.Column("root", sa.Text(), nullable=False, comment="PEM"),
        sa.Column("intermediate", sa.Text(), nullable=False, comment="PEM"),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=False,
            comment="the intermediate's private key, sealed by ca.secret",
        ),
        _text("state", 10, "next, issuing or retired"),
        _text("created", 40),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorities")),
    )
    op.create_table(
        "certificates",
        _text("serial", 40),
        _text("cluster", 253),
        _text("node", 253),
        _text("enrolment", 40),
        _text("authority", 40),
        _text("key_hash", 64),
        _text("not_after", 40),
        _text("issued", 40),
        _text("trust", 64, "digest of the trust bundle that its holder has"),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_certificates")),
        comment="what was issued to nodes",
    )
    op.create_index(op.f("ix_certificates_not_after"), "certificates", ["not_after"])
