"""People of the platform, and the providers that they sign in with."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.schemas import PersonBody, PersonChanges, ProviderBody
from modelyard.core.access import Action
from modelyard.core.sign_in import GroupRule, Invitation, Person, Provider, ProviderView

router = APIRouter(prefix="/api/v1", tags=["people"])
Administrator = Annotated[Caller, Depends(Needs(Action.ADMIN))]


@router.get("/people", summary="Everybody", responses=returns(list[Person]))
def listed(caller: Administrator) -> Response:
    return answer(caller.services.people.list())


@router.post("/people", summary="Adds a person", status_code=201, responses=returns(Invitation, 201))
def add(caller: Administrator, body: PersonBody) -> Response:
    """The answer has a one-time token, shown this once, with which the person sets a password: ``POST /sign-in/password``."""
    return _once(caller.services.people.add(caller.actor, body.name, display=body.display, admin=body.admin))


@router.post("/people/{name}/invite", summary="Another one-time token", status_code=201, responses=returns(Invitation, 201))
def invited(caller: Administrator, name: str) -> Response:
    """For whoever forgot a password; the old one works until the new one is set."""
    return _once(caller.services.people.invite(caller.actor, name))


@router.patch("/people/{name}", summary="Disables a person, or lets it in again", responses=returns(Person))
def changed(caller: Administrator, name: str, body: PersonChanges) -> Response:
    """A disabled person's sessions end, and its keys are refused within a second."""
    made = caller.services.people.disable(caller.actor, name, disabled=body.disabled)
    caller.services.propagate()
    return answer(made)


@router.get("/providers", summary="OpenID providers, without their secrets", responses=returns(list[ProviderView]))
def providers(caller: Administrator) -> Response:
    return answer(caller.services.openid.list())


@router.put("/providers/{name}", summary="Makes an OpenID provider known, or changes it", responses=returns(ProviderView))
def put(caller: Administrator, name: str, body: ProviderBody) -> Response:
    """The secret is sealed and never shown again. Register ``…/api/v1/sign-in/oidc/NAME/callback`` as redirect URI there."""
    provider = Provider(
        name=name,
        issuer=body.issuer,
        client_id=body.client_id,
        scopes=body.scopes,
        groups_claim=body.groups_claim,
        mapping=msgspec.convert([rule.model_dump() for rule in body.mapping], tuple[GroupRule, ...]),
    )
    return answer(caller.services.openid.put(caller.actor, provider, body.client_secret, body.revision))


@router.delete("/providers/{name}", summary="Forgets an OpenID provider", status_code=204, responses=DONE)
def removed(caller: Administrator, name: str) -> Response:
    caller.services.openid.remove(caller.actor, name)
    return done()


def _once(made: Invitation) -> Response:
    response = answer(made, 201)
    response.headers["cache-control"] = "no-store"
    return response
