"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.schemas import NewKeyBody, RotationBody
from modelyard.control.services import Services
from modelyard.core.access import Action, Key
from modelyard.core.api import IssuedKey, KeyView
from modelyard.identity.bounds import NewKey, check_reach

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
Issuer = Annotated[Caller, Depends(Needs(Action.KEYS))]


@router.post("", summary="Issues a key and shows its secret, this once", status_code=201, responses=returns(IssuedKey, 201))
def create(caller: Issuer, body: NewKeyBody) -> Response:
    """Never with more rights than the caller's key has, or the principal whose key it is, and no longer valid than the caller's."""
    return shown_once(caller, issue(caller, wanted(body)), 201)


@router.get("", summary="Keys, without their secrets", responses=returns(list[KeyView]))
def listed(caller: Issuer) -> Response:
    return answer(views(caller, caller.services.keys.list(caller.workspace_id)))


@router.post("/{key_id}/rotate", summary="Gives a key another secret, shown this once", responses=returns(IssuedKey))
def rotated(caller: Issuer, key_id: str, body: RotationBody) -> Response:
    """The secret before works on for as long as the body says. Limits, usage and the key's id stay."""
    return shown_once(caller, rotate(caller, key_id, body), 200)


@router.delete("/{key_id}", summary="Ends a key; it is refused within a second", status_code=204, responses=DONE)
def revoked(caller: Issuer, key_id: str) -> Response:
    revoke(caller, key_id)
    caller.services.propagate()
    return done()


def wanted(body: NewKeyBody) -> NewKey:
    """What a body asks for."""
    return NewKey(
        label=body.label,
        actions=tuple(body.actions),
        deployments=tuple(body.deployments),
        networks=tuple(body.networks),
        expires_seconds=body.expires_seconds,
        principal=body.principal,
    )


def issue(caller: Caller, new: NewKey) -> IssuedKey:
    """A new key with its secret, within the rights of the caller."""
    key, secret = caller.services.keys.create(caller.actor, new, within=caller.grant)
    return IssuedKey(**_fields(caller, key), key=secret)


def rotate(caller: Caller, key_id: str, body: RotationBody) -> IssuedKey:
    """The same key with another secret."""
    key, secret = caller.services.keys.rotate(caller.actor, key_id, body.overlap_seconds, caller.grant)
    return IssuedKey(**_fields(caller, key), key=secret)


def revoke(caller: Caller, key_id: str) -> None:
    """Ends a key that has no more rights than the caller's own.

    Raises NotFound, PermissionDenied, Conflict for the last administrator's key.
    """
    check_reach(caller.services.keys.get(caller.workspace_id, key_id), caller.grant)
    caller.services.keys.revoke(caller.actor, key_id)


def shown_once(caller: Caller, issued: IssuedKey, status: int) -> Response:
    """An answer with a secret, once workers know of it."""
    response = answer(issued, status)
    caller.services.propagate()
    response.headers["cache-control"] = "no-store"
    return response


def shown_key(services: Services, key: Key, secret: str) -> Response:
    """A key that was made without a caller, with its secret."""
    with services.store.read() as session:
        issued = IssuedKey(**_told(key, session.principals.names({key.principal_id})), key=secret)
    response = answer(issued, 201)
    response.headers["cache-control"] = "no-store"
    return response


def views(caller: Caller, keys: Sequence[Key]) -> list[KeyView]:
    """Keys without what is secret of them."""
    with caller.services.store.read() as session:
        names = session.principals.names({key.principal_id for key in keys})
    return [KeyView(**_told(key, names)) for key in keys]


def _fields(caller: Caller, key: Key) -> dict[str, Any]:
    with caller.services.store.read() as session:
        return _told(key, session.principals.names({key.principal_id}))


_SHOWN = (
    "label",
    "actions",
    "deployments",
    "networks",
    "created_by",
    "created_ns",
    "expires_ns",
    "revoked_ns",
    "rotated_ns",
    "previous_until_ns",
    "used_ns",
)


def _told(key: Key, names: dict[int, str]) -> dict[str, Any]:
    return {"id": key.public_id, "principal": names.get(key.principal_id, "")} | {name: getattr(key, name) for name in _SHOWN}
