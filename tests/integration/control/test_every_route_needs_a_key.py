"""Walks the route table: nothing but health answers a caller without a key, and every route says which right it needs."""

from __future__ import annotations

import re

import httpx
from fastapi.routing import APIRoute

from management import Platform
from modelyard.control.access import Needs
from modelyard.control.app import create_app

IN_A_SESSION = {"/api/v1/sign-out", "/api/v1/me/password"}
"""What only people do who have signed in; a key is told so."""
SIGNING_IN = "/api/v1/sign-in"
PUBLIC = {"/livez", "/readyz"}
ANY_KEY = {
    "/api/v1/whoami",
    "/api/v1/openapi.json",
    "/api/v1/me",
    "/api/v1/me/usage",
    "/api/v1/workspaces",
    "/api/v1/sign-out",
    "/api/v1/me/password",
}


def routes(platform: Platform) -> list[APIRoute]:
    app = create_app(platform.services)
    found = [route for route in walk(app.routes) if isinstance(route, APIRoute)]
    assert len(found) > 40
    return found


def walk(entries):
    for entry in entries:
        inner = getattr(entry, "original_router", None) or getattr(entry, "app", None)
        if isinstance(entry, APIRoute) or inner is None:
            yield entry
        else:
            yield from walk(inner.routes)


def test_without_a_key_only_health_answers(platform: Platform, url: str) -> None:
    for route in routes(platform):
        path = re.sub(r"\{[^}]*\}", "1", route.path)
        for method in route.methods:
            for headers in ({}, {"authorization": "Bearer wrong"}):
                status = httpx.request(method, url + path, headers=headers).status_code
                if route.path.startswith(SIGNING_IN):  # answers, but says nothing to whoever brings nothing
                    assert status in {400, 401, 404}, (method, path)
                else:
                    assert status == (200 if route.path in PUBLIC else 401), (method, path)


def test_every_route_declares_the_right_it_needs(platform: Platform) -> None:
    for route in routes(platform):
        needs = [dependency.call for dependency in route.dependant.dependencies if isinstance(dependency.call, Needs)]
        if route.path in PUBLIC or route.path.startswith(SIGNING_IN):
            assert not needs
        else:
            assert len(needs) == 1, route.path
            open_to_all = route.path in ANY_KEY and (route.methods == {"GET"} or route.path in IN_A_SESSION)
            assert (not needs[0].actions) == open_to_all, route.path
