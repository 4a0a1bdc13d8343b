"""Who calls: every route declares the right it needs by depending on ``needs``."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from urllib.parse import urlsplit

import msgspec
from fastapi import Request

from modelyard.control.services import Services
from modelyard.core.access import Action, Certificate, Grant
from modelyard.core.errors import MissingKey, NotFound, PermissionDenied, Unauthenticated
from modelyard.core.events import Actor
from modelyard.gate.authenticate import WrongNetwork, reachable_from
from modelyard.identity.workspaces import grant_in

SESSION = "modelyard_session"
"""The cookie of a person who has signed in."""
_KEY_HEADERS = {b"authorization", b"x-api-key", b"api-key"}
WORKSPACE = b"x-modelyard-workspace"
"""The header that names the workspace which a request is about, for callers who may act in several."""


@dataclass(frozen=True)
class Caller:
    """An authenticated request's principal, with the services it may use."""

    grant: Grant
    actor: Actor
    services: Services
    inference_url: str
    session_id: int = 0
    """The session in which a person came; 0 for a key."""

    @property
    def workspace_id(self) -> int:
        return self.grant.workspace_id

    def check(self, *actions: Action) -> None:
        """Raises PermissionDenied unless the caller holds one of ``actions``, where any is named."""
        if actions and not any(self.grant.allows(action) for action in actions):
            held = ", ".join(sorted(self.grant.actions)) or "nothing"
            needed = " or ".join(repr(action.value) for action in actions)
            raise PermissionDenied(f"This call needs the right {needed}, but key {self.grant.public_id!r} has {held}; use one that has it.")

    def check_deployment(self, name: str, action: Action) -> None:
        """Raises PermissionDenied when the key is scoped to other deployments."""
        if not self.grant.allows(action, name):
            raise PermissionDenied(f"Key {self.grant.public_id!r} may use {', '.join(sorted(self.grant.deployments))} only, not {name!r}.")


class Needs:
    """A dependency: the caller, whom ``guard.py`` has identified, holds one of ``actions``; without any, every valid key will do."""

    def __init__(self, *actions: Action) -> None:
        self.actions = actions

    def __call__(self, request: Request) -> Caller:
        caller: Caller = request.state.caller
        caller.check(*self.actions)
        return caller


def identify(request: Request) -> Caller:
    """The caller of a request.

    Raises Unauthenticated, PermissionDenied for a key that is for other networks, NotFound for a workspace that is not the caller's.
    """
    services: Services = request.app.state.services
    headers: dict[bytes, bytes] = {}
    for name, value in request.headers.raw:
        headers[name] = headers[name] + b", " + value if name in headers else value
    address = request.client.host if request.client else ""
    if SESSION in request.cookies and not headers.keys() & _KEY_HEADERS:
        return _in_session(request, services, address)
    try:
        grant = services.authenticate(headers, request.url.query, address)
    except MissingKey:
        shown: Certificate | None = getattr(request.state, "certificate", None)
        certified = services.certificates.grant(shown) if shown is not None else None
        if certified is None:
            raise
        if certified.networks and not reachable_from(certified.networks, address):
            raise WrongNetwork(certified, address) from None
        grant = certified
    actor = Actor(name=f"key:{grant.public_id}", workspace_id=grant.workspace_id, address=address, request_id=request.state.request_id)
    wanted = headers.get(WORKSPACE)
    if wanted is not None:
        grant = _elsewhere(services, grant, wanted.decode("latin-1"))
        actor = msgspec.structs.replace(actor, workspace_id=grant.workspace_id)
    return Caller(grant, actor, services, reachable(services.inference_url, request.url.hostname or "127.0.0.1"))


def _in_session(request: Request, services: Services, address: str) -> Caller:
    """A person who has signed in. Changes need the token that only our own pages know.

    Raises Unauthenticated, PermissionDenied, NotFound for a workspace that is not the person's.
    """
    found = services.people.session(request.cookies[SESSION])
    if found is None:
        raise Unauthenticated("The session is over; sign in again.")
    session, person = found
    if request.method not in {"GET", "HEAD"}:
        sent = request.headers.get("x-csrf-token", "")
        if not compare_digest(sent.encode(), session.csrf.encode()):
            raise PermissionDenied("Changes in a session need the header 'x-csrf-token' that signing in answered with.")
    grant = services.workspaces.grant_of_person(person, request.headers.get(WORKSPACE.decode(), ""))
    actor = Actor(name=f"person:{person.name}", workspace_id=grant.workspace_id, address=address, request_id=request.state.request_id)
    url = reachable(services.inference_url, request.url.hostname or "127.0.0.1")
    return Caller(grant, actor, services, url, session.id)


def _elsewhere(services: Services, grant: Grant, name: str) -> Grant:
    """The grant in the workspace that a request names. A key is of one workspace; only administrators' reach further.

    Raises NotFound.
    """
    with services.store.read() as session:
        own = session.workspaces.get(grant.workspace_id)
    if own is not None and own.name == name:
        return grant
    if not grant.allows(Action.ADMIN) or grant.deployments:
        raise NotFound(f"There is no workspace {name[:63]!r} that this key is for; leave the header 'x-modelyard-workspace' out.")
    workspace, _ = services.workspaces.find(name, grant.principal_id)
    return grant_in(grant, workspace)


def reachable(url: str, host: str) -> str:
    """``url`` with ``host`` in place of an address that only means every interface."""
    parts = urlsplit(url)
    if parts.hostname not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return url
    shown = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{shown}:{parts.port}" if parts.port else shown).geturl()
