"""Sharing deployments with other workspaces: each change with its audit rows, in both workspaces, in the same transaction."""

from __future__ import annotations

from typing import Any

from modelyard.core.deployments import Deployment
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.shares import Direction, Share, ShareView, shared_name
from modelyard.gate.currencies import currencies_of, prices_in
from modelyard.store.database import Session, Store
from modelyard.store.workspaces import Workspace

Views = list[ShareView]


class ShareService:
    """Shares what one workspace owns with others, by name. Safe to use from several threads.

    A share lets the other workspace's keys call the deployment and read what callers may know of it. Calls count, and cost, in the
    caller's workspace, by the owner's prices; limits of both bind them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def share(self, actor: Actor, deployment: str, workspace: str) -> ShareView:
        """Lets the keys of another workspace call a deployment; doing it again changes nothing.

        Raises NotFound, InvalidRequest for the own workspace, Conflict where the other one counts money in another currency or has
        something of the same name already.
        """
        with self._store.write() as session:
            found, borrower = _deployment(session, actor.workspace_id, deployment), workspace_named(session, workspace)
            if borrower.id == actor.workspace_id:
                raise InvalidRequest(f"{workspace!r} is this workspace; its keys may call {deployment!r} already.")
            current = session.shares.find(actor.workspace_id, deployment, borrower.id)
            if current is not None:
                return _given(current, workspace)
            owner = session.workspaces.get(actor.workspace_id)
            name = shared_name(owner.name if owner is not None else "", deployment)
            _check(session, actor.workspace_id, borrower, name)
            wish = Share(
                id=0,
                workspace_id=actor.workspace_id,
                deployment_id=found.id,
                deployment=deployment,
                borrower_id=borrower.id,
                name=name,
                created_by=actor.name,
            )
            made = session.shares.add(wish)
            session.audit.append(actor, "share.add", deployment, after={"workspace": workspace, "name": name})
            session.audit.append(_told(session, actor, made), "share.receive", name, after={"from": name.partition("~")[0]})
            return _given(made, workspace)

    def unshare(self, actor: Actor, deployment: str, workspace: str) -> None:
        """Ends a share; workers refuse the other workspace's calls as soon as they see the next snapshot. Raises NotFound."""
        with self._store.write() as session:
            borrower = session.workspaces.by_name(workspace)
            found = session.shares.find(actor.workspace_id, deployment, borrower.id) if borrower is not None else None
            if found is None:
                raise NotFound(f"{deployment[:63]!r} is not shared with {workspace[:63]!r}; 'modelyard shares' shows what is.")
            end_share(session, actor, found)

    def list(self, workspace_id: int) -> Views:
        """Shares of a workspace's deployments, and what is shared with it."""
        with self._store.read() as session:
            names = {workspace.id: workspace.name for workspace in session.workspaces.list()}
            given = [_given(share, names.get(share.borrower_id, "")) for share in session.shares.given(workspace_id)]
            received = [_received(share, names.get(share.workspace_id, "")) for share in session.shares.received(workspace_id)]
        return [*given, *received]


def end_share(session: Session, actor: Actor, share: Share) -> None:
    """Ends a share, with its audit rows."""
    session.shares.end(share)
    borrower = session.workspaces.get(share.borrower_id)
    before: dict[str, Any] = {"workspace": borrower.name if borrower is not None else "", "name": share.name}
    session.audit.append(actor, "share.end", share.deployment, before=before)
    session.audit.append(_told(session, actor, share), "share.lose", share.name, before={"from": share.name.partition("~")[0]})


def _told(session: Session, actor: Actor, share: Share) -> Actor:
    """Who acts, as the borrower's audit log says it: whose key did it, and from where, is the owner's own affair."""
    owner = session.workspaces.get(share.workspace_id)
    name = f"workspace:{owner.name}" if owner is not None else "platform"
    return Actor(name=name, workspace_id=share.borrower_id, request_id=actor.request_id)


def _check(session: Session, owner_id: int, borrower: Workspace, name: str) -> None:
    if any(share.name == name for share in session.shares.received(borrower.id)):
        raise Conflict(f"Workspace {borrower.name!r} has {name!r} from somebody else already, who was called so before; rename yours.")
    differ = currencies_of(session, borrower.id), prices_in(session, owner_id)
    if all(differ) and differ[0] != differ[1]:
        raise Conflict("The two workspaces count money in different currencies, so calls could not be billed; nothing was shared.")


def _deployment(session: Session, workspace_id: int, name: str) -> Deployment:
    found = session.deployments.get(workspace_id, name)
    if found is None:
        known = [deployment.name for deployment in session.deployments.list(workspace_id)]
        raise NotFound(f"There is no deployment {name[:63]!r} to share.{did_you_mean(name[:63], known)}")
    return found


def workspace_named(session: Session, name: str) -> Workspace:
    """A workspace that may be shared with. Raises NotFound."""
    found = session.workspaces.by_name(name)
    if found is None or found.removed_ns:
        # No names near to it: which workspaces there are is nobody's business.
        raise NotFound(f"There is no workspace {name[:63]!r}; ask those you share with how theirs is called.")
    return found


def _given(share: Share, borrower: str) -> ShareView:
    return ShareView(
        direction=Direction.GIVEN,
        deployment=share.deployment,
        workspace=borrower,
        name=share.name,
        created_by=share.created_by,
        created_ns=share.created_ns,
    )


def _received(share: Share, owner: str) -> ShareView:
    return ShareView(direction=Direction.RECEIVED, deployment=share.name, workspace=owner, name=share.name, created_ns=share.created_ns)
