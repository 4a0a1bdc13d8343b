"""Signing in and out: with a password or an OpenID provider, into a session or a short-lived key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from modelyard.control.access import SESSION, Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.refusals import peer, record_failed_sign_in
from modelyard.control.routes.keys import shown_key
from modelyard.control.schemas import ChangedPasswordBody, NewPasswordBody, SignInBody, SignInKeyBody
from modelyard.control.services import Services
from modelyard.core.api import IssuedKey
from modelyard.core.errors import InvalidRequest, LimitExceeded, PermissionDenied, Unauthenticated
from modelyard.core.events import Actor
from modelyard.core.principals import Principal
from modelyard.core.sign_in import SignedIn
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

router = APIRouter(prefix="/api/v1", tags=["sign-in"])
Anybody = Annotated[Caller, Depends(Needs())]
ATTEMPT = "modelyard_sign_in"
_HERE = "/api/v1/sign-in"


@router.post("/sign-in", summary="Begins a session with a password", responses=returns(SignedIn))
def sign_in(request: Request, body: SignInBody) -> Response:
    """The session is in a cookie; every change needs the header ``x-csrf-token``. Wrong passwords block the name for a while."""
    services = _services(request)
    with _telling(request, body.name):
        person = services.people.sign_in(body.name, body.password, _visitor(request))
    return _session(request, person)


@router.post("/sign-in/key", summary="A short-lived key for a password", status_code=201, responses=returns(IssuedKey, 201))
def sign_in_for_key(request: Request, body: SignInKeyBody) -> Response:
    """For the command line: a key of one's own with all rights of one's roles in the workspace, valid for hours."""
    services = _services(request)
    with _telling(request, body.name):
        person = services.people.sign_in(body.name, body.password, _visitor(request))
    issued = services.keys.for_person(person, body.workspace, body.hours, _visitor(request))
    services.propagate()
    return shown_key(services, *issued)


@router.post("/sign-in/password", summary="Sets a password with a one-time token", status_code=204, responses=DONE)
def set_password(request: Request, body: NewPasswordBody) -> Response:
    with _telling(request, ""):
        _services(request).people.set_password(body.token, body.password, _visitor(request))
    return done()


@router.get("/sign-in/oidc/{provider}", summary="Sends the browser to an OpenID provider", status_code=303, responses={303: {}})
def begin(request: Request, provider: str) -> Response:
    to, sealed = _services(request).openid.begin(provider, _callback(request, provider))
    response = RedirectResponse(to, 303)
    response.set_cookie(ATTEMPT, sealed, max_age=600, path=_HERE, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    response.headers["cache-control"] = "no-store"
    return response


@router.get("/sign-in/oidc/{provider}/callback", summary="Where the provider sends the browser back", responses=returns(SignedIn))
def finished(
    request: Request,
    provider: str,
    state: Annotated[str, Query(max_length=500)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    error: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    with _telling(request, ""):
        if error or not code or not state:
            raise Unauthenticated(f"The provider did not sign you in ({error[:80] or 'no code came back'}); begin again.")
        cookie = request.cookies.get(ATTEMPT, "")
        person = _services(request).openid.finish(provider, cookie, state, code, _visitor(request))
    response = _session(request, person)
    response.delete_cookie(ATTEMPT, path=_HERE)
    return response


@router.post("/sign-out", summary="Ends the session", status_code=204, responses=DONE)
def sign_out(caller: Anybody) -> Response:
    """The cookie is worth nothing afterwards."""
    if not caller.session_id:
        raise InvalidRequest("You came with a key and not in a session; end a key with DELETE /api/v1/me/keys/ID.")
    caller.services.people.close_session(caller.session_id)
    response = done()
    response.delete_cookie(SESSION, path="/")
    return response


@router.put("/me/password", summary="Changes one's own password", status_code=204, responses=DONE)
def change_password(caller: Anybody, body: ChangedPasswordBody) -> Response:
    """Every session ends, this one too."""
    if not caller.session_id:
        raise InvalidRequest("A password is changed in a session; sign in first.")
    caller.services.people.change_password(caller.grant.principal_id, body.old, body.new, caller.actor)
    return done()


@contextmanager
def _telling(request: Request, name: str) -> Iterator[None]:
    """Has whoever does not get in noted for the audit log."""
    try:
        yield
    except (Unauthenticated, LimitExceeded, PermissionDenied) as error:
        record_failed_sign_in(request, name, error.message)
        raise


def _session(request: Request, person: Principal) -> Response:
    session, secret = _services(request).people.open_session(person, peer(request))
    response = answer(SignedIn(name=person.name, csrf=session.csrf, expires_ns=session.expires_ns))
    response.set_cookie(SESSION, secret, path="/", httponly=True, samesite="lax", secure=request.url.scheme == "https")
    response.headers["cache-control"] = "no-store"
    return response


def _visitor(request: Request) -> Actor:
    """Whoever asks, before it is somebody."""
    return Actor(name="nobody", workspace_id=DEFAULT_WORKSPACE_ID, address=peer(request), request_id=request.state.request_id)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _callback(request: Request, provider: str) -> str:
    return f"{str(request.base_url).rstrip('/')}{_HERE}/oidc/{provider}/callback"
