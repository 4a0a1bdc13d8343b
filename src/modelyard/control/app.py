"""Puts the management API together."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modelyard import __version__
from modelyard.control import errors
from modelyard.control.answers import components
from modelyard.control.envelope import Envelope
from modelyard.control.guard import PUBLIC, Guard
from modelyard.control.routes import (
    audit,
    certificates,
    datasets,
    declared,
    deployments,
    health,
    invoices,
    jobs,
    keys,
    limits,
    me,
    models,
    people,
    platform,
    pools,
    prices,
    shares,
    sign_in,
    usage,
    versions,
    workspaces,
)
from modelyard.control.services import Services

ROUTERS = (
    *(health, platform, sign_in, people, workspaces, me, datasets, jobs, pools, models, versions, deployments, keys, certificates),
    *(limits, prices, shares, usage, invoices, audit, declared),
)
DESCRIPTION = """Trains, registers, deploys and governs models. Every call but `/livez` and `/readyz` needs a key:
`Authorization: Bearer KEY`. A refusal answers `{"error": {"code", "message"}}`; codes are stable."""


def create_app(services: Services) -> FastAPI:
    """The management API on ``services``.

    Nothing is started; the app has no state but them. Its OpenAPI document is at ``/api/v1/openapi.json``, for callers with a key;
    there is no page that shows it, because that would load scripts from elsewhere.
    """
    app = FastAPI(
        title="Modelyard",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses={"default": {"description": "Refused.", **_json("ErrorBody")}},
    )
    app.state.services = services
    for module in ROUTERS:
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(Guard)
    app.add_middleware(Envelope)  # the last one added is the outermost
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's documented way to change it
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the structs of core among its components and the key as its security."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {}).update(components())
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
        found["security"] = [{"key": []}]
        for path in PUBLIC:
            found["paths"][path]["get"]["security"] = []
        # Defaults of msgspec's schemas are tuples; as JSON everything is what the standard says.
        app.openapi_schema = msgspec.json.decode(msgspec.json.encode(found))
    return app.openapi_schema


def _json(name: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
