"""The first way in: an administrator's key, made at the first start or given from outside."""

from __future__ import annotations

import logging

from modelyard.core.access import Action
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.events import Actor
from modelyard.core.principals import Principal, PrincipalKind
from modelyard.identity.bounds import NewKey
from modelyard.identity.keys import add_key, administers, revoke_key, secret_digest
from modelyard.store.database import Session, Store
from modelyard.store.nodes import GONE_SECONDS
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

logger = logging.getLogger(__name__)
ADMINISTRATOR = "administrator"
"""The service whose keys these are."""
SHORTEST_GIVEN = 16
LONGEST_GIVEN = 512
_SYSTEM = Actor(name="system", workspace_id=DEFAULT_WORKSPACE_ID)
_MADE = "admin key of the first start"
_GIVEN = "admin key given by MODELYARD_ADMIN_KEY"


def bootstrap(store: Store, clock: Clock, secret: str | None = None, node: str = "") -> str | None:
    """Sees to it that an admin key exists; the secret of one that was made now, to be printed once.

    With a ``secret`` from outside, that is the admin key from now on, and the one given before is revoked. Without one, a key
    is made only while no valid admin key exists. ``node`` is who starts: it counts as being there from now on.
    Raises InvalidRequest for a secret that is too short, Conflict for one that was revoked or belongs to a lesser key, and where
    other nodes of the same database run with another one.
    """
    if secret:
        _adopt(store, clock, secret, node)
        return None
    with store.write() as session:
        session.nodes.beat(node)
        if any(administers(session, key) for key in session.keys.active(clock.time_ns())):
            return None
        return _issue(session, clock, NewKey(label=_MADE, actions=tuple(Action)))


def administrator(session: Session) -> Principal:
    """The service that administers the platform, made where it is missing and able again where somebody has disabled it."""
    found = session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.SERVICE, ADMINISTRATOR)
    if found is None:
        wish = Principal(
            id=0, workspace_id=DEFAULT_WORKSPACE_ID, kind=PrincipalKind.SERVICE, name=ADMINISTRATOR, admin=True, created_by=_SYSTEM.name
        )
        return session.principals.add(wish)
    return found


def _adopt(store: Store, clock: Clock, secret: str, node: str) -> None:
    if not SHORTEST_GIVEN <= len(secret) <= LONGEST_GIVEN or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidRequest(
            f"The admin key must have {SHORTEST_GIVEN} to {LONGEST_GIVEN} printable ASCII characters without spaces; choose another."
        )
    with store.write() as session:
        session.nodes.beat(node)
        known = session.keys.by_digest(secret_digest(secret))
        if known is not None:
            if known.revoked_ns or not administers(session, known):
                raise Conflict("The given admin key was revoked, or belongs to a key with fewer rights; choose another.")
            return
        now = clock.time_ns()
        given = [key for key in session.keys.active(now) if key.label == _GIVEN and key.workspace_id == DEFAULT_WORKSPACE_ID]
        if given and session.nodes.others(node):
            # Each would revoke the other's at every start.
            raise Conflict(
                "Another node works on this database with another MODELYARD_ADMIN_KEY. Give this one the same, or none; to change it, "
                f"stop the others first (one that was killed counts as stopped after {GONE_SECONDS:g} s)."
            )
        for key in given:
            logger.warning("MODELYARD_ADMIN_KEY is another one than before: key %s, which was given then, is revoked", key.public_id)
            revoke_key(session, _SYSTEM, key, now)
        _issue(session, clock, NewKey(label=_GIVEN, actions=tuple(Action)), secret)


def _issue(session: Session, clock: Clock, new: NewKey, given: str = "") -> str:
    return add_key(session, _SYSTEM, DEFAULT_WORKSPACE_ID, administrator(session).id, new, clock.time_ns(), given)[1]
