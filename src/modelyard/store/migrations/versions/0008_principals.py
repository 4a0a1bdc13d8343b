"""Principals, what they are in which workspace, and keys that are theirs. Keys of before are those of an administrator."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON(none_as_null=True)
ADMINISTRATOR = "administrator"


def upgrade() -> None:
    _principals()
    _memberships()
    op.add_column("workspaces", sa.Column("removed_ns", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("workspaces", sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("keys", sa.Column("principal_id", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("keys", sa.Column("previous_digest", sa.String(length=64), nullable=True))
    op.add_column("keys", _time("previous_until_ns"))
    op.add_column("keys", sa.Column("networks", _JSON, server_default="[]", nullable=False))
    op.add_column("keys", _time("rotated_ns"))
    op.add_column("keys", _time("used_ns"))
    op.add_column("keys", sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False))
    op.create_index(op.f("ix_keys_previous_digest"), "keys", ["previous_digest"], unique=True)
    op.create_index(op.f("ix_keys_principal_id"), "keys", ["principal_id"], unique=False)
    _give_keys_a_principal()


def _time(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _principals() -> None:
    op.create_table(
        "principals",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("workspace_id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        _text("display"),
        _text("issuer"),
        _text("subject"),
        sa.Column("admin", sa.Boolean(), server_default=sa.false(), nullable=False),
        _text("created_by"),
        _time("created_ns"),
        _time("disabled_ns"),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_principals_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principals")),
        sa.UniqueConstraint("workspace_id", "kind", "name", name=op.f("uq_principals_workspace_id_kind_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_principals_issuer_subject"), "principals", ["issuer", "subject"], unique=False)


def _memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("workspace_id", _ID, nullable=False),
        sa.Column("principal_id", _ID, nullable=False),
        sa.Column("roles", _JSON, nullable=False),
        sa.Column("trust", sa.Boolean(), server_default=sa.false(), nullable=False),
        _text("created_by"),
        _time("created_ns"),
        _time("updated_ns"),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_memberships_workspace_id")),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name=op.f("fk_memberships_principal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("workspace_id", "principal_id", name=op.f("uq_memberships_workspace_id_principal_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_memberships_principal_id"), "memberships", ["principal_id"], unique=False)


def _give_keys_a_principal() -> None:
    """The administrator's, as there was nobody else until now: no key loses a right, and each is still bounded by its own."""
    connection = op.get_bind()
    keys = sa.table("keys", sa.column("id", sa.BigInteger()), sa.column("principal_id", sa.BigInteger()), sa.column("actions", sa.JSON()))
    known = connection.execute(sa.select(keys.c.id, keys.c.actions)).all()
    if not known:
        return
    for identity, actions in known:
        more = {"self", "metrics"} if "admin" in actions else {"metrics"} if "read" in actions else set()
        if more:
            connection.execute(keys.update().where(keys.c.id == identity).values(actions=sorted({*actions, *more})))
    columns = ("id", "workspace_id", "kind", "name", "admin", "created_by", "created_ns")
    principals = sa.table("principals", *(sa.column(name) for name in columns))
    made = connection.execute(
        principals.insert()
        .values(workspace_id=1, kind="service", name=ADMINISTRATOR, admin=True, created_by="system")
        .returning(principals.c.id)
    ).scalar_one()
    connection.execute(keys.update().values(principal_id=made))
