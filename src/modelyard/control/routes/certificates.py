"""Client certificates that stand for keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.schemas import Body
from modelyard.core.access import Action
from modelyard.core.api import BindingView

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
Issuer = Annotated[Caller, Depends(Needs(Action.KEYS))]


class BindingBody(Body):
    """A certificate: ``sha256:…`` or ``subject:…``."""

    certificate: str


@router.get("/certificates", summary="Client certificates that stand for keys", responses=returns(list[BindingView]))
def listed(caller: Issuer) -> Response:
    bindings = caller.services.certificates.list(caller.workspace_id)
    return answer([_view(public_id, binding.certificate, binding.created_by, binding.created_ns) for public_id, binding in bindings])


@router.post(
    "/{key_id}/certificates", summary="Lets a client certificate stand for a key", status_code=201, responses=returns(BindingView, 201)
)
def bind(caller: Issuer, key_id: str, body: BindingBody) -> Response:
    """Whoever shows it in the TLS handshake needs no key."""
    made = caller.services.certificates.bind(caller.actor, key_id, body.certificate, caller.grant)
    caller.services.propagate()
    return answer(_view(key_id, made.certificate, made.created_by, made.created_ns), 201)


@router.delete("/{key_id}/certificates", summary="The certificate stands for the key no more", status_code=204, responses=DONE)
def unbind(caller: Issuer, key_id: str, certificate: Annotated[str, Query(description="As it was bound.")]) -> Response:
    caller.services.certificates.unbind(caller.actor, key_id, certificate, caller.grant)
    caller.services.propagate()
    return done()


def _view(public_id: str, certificate: str, created_by: str, created_ns: int) -> BindingView:
    return BindingView(key=public_id, certificate=certificate, created_by=created_by, created_ns=created_ns)
