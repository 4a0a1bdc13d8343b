"""How people sign in: passwords, sessions and OpenID providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "passwords",
        sa.Column("principal_id", _ID, autoincrement=False, nullable=False),
        _text("hash"),
        _count("set_ns"),
        _count("failures"),
        _count("blocked_until_ns"),
        sa.Column("link_digest", sa.String(length=64), nullable=True),
        _count("link_until_ns"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name=op.f("fk_passwords_principal_id")),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_passwords")),
        sa.UniqueConstraint("link_digest", name=op.f("uq_passwords_link_digest")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("principal_id", _ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        _text("address"),
        _count("created_ns"),
        _count("expires_ns"),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name=op.f("fk_sessions_principal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_sessions_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sessions_principal_id"), "sessions", ["principal_id"], unique=False)
    op.create_table(
        "providers",
        sa.Column("name", sa.String(length=63), nullable=False),
        *(_text(name) for name in ("issuer", "client_id", "sealed_secret", "scopes", "groups_claim")),
        sa.Column("mapping", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_providers")),
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)
