"""API keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.schemas import NewKeyBody
from modelyard.core.access import Action, Key
from modelyard.core.api import IssuedKey, KeyView
from modelyard.core.errors import PermissionDenied
from modelyard.identity.keys import NewKey

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
Issuer = Annotated[Caller, Depends(Needs(Action.KEYS))]


@router.post("", summary="Issues a key and shows its secret, this once", status_code=201, responses=returns(IssuedKey, 201))
def create(caller: Issuer, body: NewKeyBody) -> Response:
    """Never with more rights than the caller's key has, and no longer valid than it."""
    new = NewKey(label=body.label, actions=tuple(body.actions), deployments=tuple(body.deployments), expires_seconds=body.expires_seconds)
    response = answer(issue(caller, new), 201)
    caller.services.propagate()
    response.headers["cache-control"] = "no-store"
    return response


@router.get("", summary="Keys, without their secrets", responses=returns(list[KeyView]))
def listed(caller: Issuer) -> Response:
    return answer([view(key) for key in caller.services.keys.list(caller.workspace_id)])


@router.delete("/{key_id}", summary="Ends a key; it is refused within a second", status_code=204, responses=DONE)
def revoked(caller: Issuer, key_id: str) -> Response:
    revoke(caller, key_id)
    caller.services.propagate()
    return done()


def issue(caller: Caller, new: NewKey) -> IssuedKey:
    """A new key with its secret, within the rights of the caller."""
    key, secret = caller.services.keys.create(caller.actor, new, within=caller.grant)
    return IssuedKey(**_fields(key), key=secret)


def revoke(caller: Caller, key_id: str) -> None:
    """Ends a key that has no more rights than the caller's own.

    Raises NotFound, PermissionDenied, Conflict for the last administrator's key.
    """
    key, grant = caller.services.keys.get(caller.workspace_id, key_id), caller.grant
    within = not grant.deployments or (key.deployments and grant.deployments.issuperset(key.deployments))
    if not within or not grant.actions.issuperset(key.actions):
        raise PermissionDenied(f"Key {key_id!r} has rights that yours lacks, so yours cannot revoke it; ask whoever holds them.")
    caller.services.keys.revoke(caller.actor, key_id)


def view(key: Key) -> KeyView:
    """A key without what is secret of it."""
    return KeyView(**_fields(key))


def _fields(key: Key) -> dict[str, Any]:
    names = ("label", "actions", "deployments", "created_by", "created_ns", "expires_ns", "revoked_ns")
    return {"id": key.public_id} | {name: getattr(key, name) for name in names}
