"""Deployments, what users reported of their answers, and asynchronous predictions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, UniqueConstraint

from modelyard.store.tables.base import ID, document, identity, metadata, text, time, workspace

deployments = Table(
    "deployments",
    metadata,
    identity(),
    workspace(),
    Column("name", String(63), nullable=False),
    document("targets"),
    document("policy"),
    time("created_ns"),
    time("updated_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("workspace_id", "name"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    Column("request_id", String(32), primary_key=True),
    workspace(),
    Column("deployment_id", ID, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("value", Float(53), nullable=False),
    time("time_ns"),
    Index(None, "deployment_id", "time_ns"),
    Index(None, "time_ns"),
)

former_deployments = Table(
    "former_deployments",
    metadata,
    # Names outlive what they named: usage of a month that is billed later still has its price.
    Column("id", ID, primary_key=True, autoincrement=False),
    workspace(),
    Column("name", String(63), nullable=False),
    time("removed_ns"),
    Index(None, "workspace_id"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(64), primary_key=True),
    workspace(),
    Column("key_id", ID, nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("status", String(16), nullable=False),
    text("webhook"),
    text("error"),
    document("detail"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    time("created_ns"),
    time("finished_ns"),
    time("expires_ns"),
    time("next_ns"),
    time("delivered_ns"),
    Index(None, "status", "next_ns"),
    Index(None, "expires_ns"),
    Index(None, "workspace_id", "created_ns"),
)
