"""Answers: msgspec structs to JSON, and their place in the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response

from modelyard.core.api import (
    Applied,
    BindingView,
    DeploymentView,
    ErrorBody,
    IssuedKey,
    KeyView,
    LogChunk,
    Me,
    PoolView,
    Sealed,
    Upload,
    UploadProgress,
    Whoami,
)
from modelyard.core.events import AuditEvent, AuditReport
from modelyard.core.invoices import Invoice
from modelyard.core.jobs import Job
from modelyard.core.limits import Limit
from modelyard.core.machine import Resources
from modelyard.core.models import Dataset, Model, Version
from modelyard.core.prices import ListedPrice
from modelyard.core.principals import Member, WorkspaceView
from modelyard.core.rollout import RolloutView
from modelyard.core.shares import ShareView
from modelyard.core.sign_in import Invitation, Person, ProviderView, SignedIn
from modelyard.core.usage import Trace, UsageRow

PUBLISHED = (
    Applied,
    AuditEvent,
    AuditReport,
    BindingView,
    Dataset,
    DeploymentView,
    ErrorBody,
    Invoice,
    Invitation,
    IssuedKey,
    Job,
    KeyView,
    Limit,
    LogChunk,
    Me,
    Member,
    Model,
    Person,
    PoolView,
    ListedPrice,
    ProviderView,
    Resources,
    RolloutView,
    Sealed,
    ShareView,
    SignedIn,
    Trace,
    Upload,
    UploadProgress,
    UsageRow,
    Version,
    Whoami,
    WorkspaceView,
)
"""What answers are made of, as components of the OpenAPI document."""
_REFERENCE = "#/components/schemas/{name}"


def answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON; numbers that JSON cannot say (NaN, infinities) become null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def returns(kind: Any, status: int = 200, description: str = "Done.") -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers with ``kind``."""
    (schema,), _ = msgspec.json.schema_components((kind,), ref_template=_REFERENCE)
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def components() -> dict[str, Any]:
    """Schemas of everything published."""
    _, found = msgspec.json.schema_components(PUBLISHED, ref_template=_REFERENCE)
    return dict(found)


DONE: dict[int | str, dict[str, Any]] = {204: {"description": "Done; there is nothing to say."}}
"""The ``responses`` of a route that answers with nothing."""
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The content.", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
"""The ``responses`` of a route that answers with a file."""


def done() -> Response:
    """The answer of a change that has nothing to tell."""
    return Response(status_code=204)


PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}}
"""The ``responses`` of a route that answers with a page."""


def page(content: bytes) -> Response:
    """HTML that may show its own pictures and styles and do nothing."""
    policy = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return Response(content, media_type="text/html", headers={"content-security-policy": policy, "x-content-type-options": "nosniff"})
