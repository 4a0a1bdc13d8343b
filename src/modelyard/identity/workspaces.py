"""Workspaces: made and ended by administrators of the platform; each change with its audit row."""

from __future__ import annotations

from modelyard.core.access import ALL_ACTIONS, Grant, Role
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.events import Actor
from modelyard.core.principals import Membership, Principal, WorkspaceView
from modelyard.identity.keys import revoke_key
from modelyard.store.database import Session, Store
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID, Workspace

Views = list[WorkspaceView]


class WorkspaceService:
    """Creates, lists, renames and removes workspaces. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def list(self, principal_id: int) -> Views:
        """Those that a principal is a member of; all of them for an administrator."""
        with self._store.read() as session:
            administers = principal_id in session.memberships.rights(principal_id).administrators
            mine = {member.workspace_id: member.roles for member in session.memberships.of(principal_id)}
            found = [workspace for workspace in session.workspaces.list() if administers or workspace.id in mine]
            return [_view(workspace, mine.get(workspace.id, ())) for workspace in found]

    def find(self, name: str, principal_id: int) -> tuple[Workspace, Membership | None]:
        """The workspace of this name, for a member of it or an administrator. Raises NotFound for everybody else, as for no workspace."""
        with self._store.read() as session:
            return find_workspace(session, name, principal_id)

    def grant_of_person(self, person: Principal, name: str) -> Grant:
        """What a person may do in a workspace; without a name, in the first that it is a member of.

        Raises NotFound for a workspace that is not the person's.
        """
        with self._store.read() as session:
            workspace_id = DEFAULT_WORKSPACE_ID
            if name:
                workspace_id = find_workspace(session, name, person.id)[0].id
            elif mine := session.memberships.of(person.id):
                workspace_id = mine[0].workspace_id
            may = session.memberships.rights(person.id).of(workspace_id, person.id)
        if not may:
            raise NotFound("You are in no workspace; ask an administrator.")
        return Grant(
            workspace_id=workspace_id,
            key_id=0,
            public_id=f"session of {person.name}",
            actions=may,
            deployments=frozenset(),
            principal_id=person.id,
        )

    def create(self, actor: Actor, name: str) -> WorkspaceView:
        """A new, empty workspace. Raises AlreadyExists, InvalidRequest for what is no name."""
        with self._store.write() as session:
            made = session.workspaces.create(name)
            session.audit.append(actor, "workspace.create", name)
            # The workspace's own log begins with where it came from.
            session.audit.append(_in(actor, made.id), "workspace.create", name)
            return _view(made, ())

    def rename(self, actor: Actor, workspace_id: int, name: str, expect_revision: int | None = None) -> WorkspaceView:
        """Gives a workspace another name; keys and calls go on. Raises AlreadyExists, InvalidRequest, Conflict."""
        with self._store.write() as session:
            before = session.workspaces.get(workspace_id)
            made = session.workspaces.rename(workspace_id, name, expect_revision)
            if before is not None and before.name != name:
                session.limits.rename_borrower(before.name, name)
                session.audit.append(_in(actor, workspace_id), "workspace.rename", name, before={"name": before.name}, after={"name": name})
            return _view(made, ())

    def remove(self, actor: Actor, workspace_id: int) -> None:
        """Ends an empty workspace with its keys and memberships; its audit log and usage stay, its name becomes free.

        Raises Conflict while it holds anything, and for the one that every home has.
        """
        if workspace_id == DEFAULT_WORKSPACE_ID:
            raise Conflict("The default workspace belongs to every home and stays; rename it if its name does not fit.")
        now = self._clock.time_ns()
        with self._store.write() as session:
            held = _held(session, workspace_id)
            if held:
                raise Conflict(f"The workspace still holds {', '.join(held)}; remove these first.")
            for key in session.keys.list(workspace_id):
                if not key.revoked_ns:
                    revoke_key(session, _in(actor, workspace_id), key, now)
            for member in session.memberships.list(workspace_id):
                session.memberships.remove(workspace_id, member.principal_id)
            name = getattr(session.workspaces.get(workspace_id), "name", "")
            for share in session.shares.received(workspace_id):
                session.shares.end(share)
                session.audit.append(_in(actor, share.workspace_id), "share.end", share.deployment, before={"workspace": name})
            session.workspaces.remove(workspace_id)
            session.audit.append(_in(actor, workspace_id), "workspace.remove", name)
            session.audit.append(actor, "workspace.remove", name)


def find_workspace(session: Session, name: str, principal_id: int) -> tuple[Workspace, Membership | None]:
    """See ``WorkspaceService.find``."""
    found = session.workspaces.by_name(name)
    if found is not None and not found.removed_ns:
        rights = session.memberships.rights(principal_id)
        member = session.memberships.get(found.id, principal_id)
        if rights.of(found.id, principal_id):
            return found, member
    raise NotFound(f"There is no workspace {name[:63]!r} that you are a member of; 'modelyard workspaces list' shows yours.")


def grant_in(grant: Grant, workspace: Workspace) -> Grant:
    """The grant of an administrator, in another workspace."""
    return Grant(
        workspace_id=workspace.id,
        key_id=grant.key_id,
        public_id=grant.public_id,
        actions=ALL_ACTIONS & grant.actions,
        deployments=grant.deployments,
        expires_ns=grant.expires_ns,
        principal_id=grant.principal_id,
        networks=grant.networks,
    )


def _held(session: Session, workspace_id: int) -> list[str]:
    counts = {
        "models": len(session.models.list(workspace_id)),
        "deployments": len(session.deployments.list(workspace_id)),
        "data sets": len(session.datasets.list(workspace_id)),
        "jobs that have not ended": sum(not job.status.ended for job in session.jobs.list(workspace_id, limit=1000)),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _in(actor: Actor, workspace_id: int) -> Actor:
    return Actor(name=actor.name, workspace_id=workspace_id, address=actor.address, request_id=actor.request_id)


def _view(workspace: Workspace, roles: tuple[Role, ...]) -> WorkspaceView:
    return WorkspaceView(name=workspace.name, roles=roles, created_ns=workspace.created_ns, revision=workspace.revision)
