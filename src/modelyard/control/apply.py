"""Does what a plan says, step by step; each step is whole, so applying again after a failure goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.control.access import Caller
from modelyard.control.declared import (
    AddVersion,
    Command,
    IssueKey,
    RemoveAlias,
    RemoveDeployment,
    RevokeKey,
    SetAlias,
    SetDeployment,
    SetModel,
    State,
    Step,
)
from modelyard.control.document import Document
from modelyard.control.governed import carry_out
from modelyard.control.governed_state import read_governed
from modelyard.control.registering import check_reach, register
from modelyard.control.routes.keys import issue, revoke
from modelyard.control.schemas import NewVersionBody
from modelyard.core.access import Action
from modelyard.core.api import Applied, IssuedKey
from modelyard.core.durations import parse_duration
from modelyard.core.errors import PermissionDenied
from modelyard.core.models import Lineage, Reference
from modelyard.identity.bounds import NewKey
from modelyard.store.blobs import Blobs


def read_state(caller: Caller, document: Document) -> State:
    """What is, as far as the document needs to know it."""
    services, workspace = caller.services, caller.workspace_id
    now = services.clock.time_ns()
    with services.store.read() as session:
        models = {model.name: model for model in session.models.list(workspace)}
        named = [name for name in document.models or {} if name in models]
        keys = [key for key in session.keys.list(workspace) if not key.revoked_ns and (not key.expires_ns or key.expires_ns > now)]
        by_label = {key.label: key for key in keys}
        return State(
            models=models,
            versions={name: session.versions.list(workspace, name) for name in named},
            deployments={found.name: (found.targets, found.policy) for found in session.deployments.list(workspace)},
            keys=by_label,
            governed=read_governed(caller, document, session, by_label),
            sizes=_sizes(services.blobs, document),
            caller_key=caller.grant.public_id,
        )


def _sizes(blobs: Blobs, document: Document) -> dict[str, int]:
    digests = {file.digest for model in (document.models or {}).values() for version in model.versions for file in version.files}
    return {digest: blobs.size(digest) for digest in digests if blobs.exists(digest)}


def check_rights(caller: Caller, steps: Iterable[Step]) -> None:
    """Raises PermissionDenied unless the caller may do every step that changes something."""
    for step in steps:
        if isinstance(step.command, SetDeployment):
            check_reach(caller, step.command.policy)
        scope = step.change.name if step.needs is Action.DEPLOY else None
        if step.command is not None and step.needs is Action.MANAGE and caller.grant.deployments:
            raise PermissionDenied(f"To {step.change.change} {step.change.kind}s a key must be for all deployments of the workspace.")
        if step.command is not None and not caller.grant.allows(step.needs, scope):
            raise PermissionDenied(
                f"To {step.change.change} {step.change.kind} {step.change.name!r} a key needs the right {step.needs.value!r}"
                f"{' for that deployment' if scope else ''}; key {caller.grant.public_id!r} lacks it."
            )


def apply_steps(caller: Caller, steps: list[Step]) -> Applied:
    """Carries out the steps; the plan, with the keys that were issued. Returns when workers act on it, or after a second."""
    issued = [key for step in steps if step.command is not None and (key := _run(caller, step.command)) is not None]
    caller.services.propagate()
    return Applied(changes=tuple(step.change for step in steps), keys=tuple(issued))


def _run(caller: Caller, command: Command) -> IssuedKey | None:
    services, actor = caller.services, caller.actor
    match command:
        case SetModel(name, description, tags):
            _set_model(caller, name, description, tags)
        case AddVersion(model, declared):
            body = NewVersionBody.model_validate(declared.model_dump())
            register(caller, model, body, Lineage(source="push"))
        case SetAlias(model, alias, version):
            services.registry.set_alias(actor, Reference(model, version), alias)
        case RemoveAlias(model, alias):
            services.registry.remove_alias(actor, model, alias)
        case SetDeployment(name, targets, policy, accept_flagged):
            services.deployments.deploy(actor, name, targets, policy=policy, accept_flagged=accept_flagged)
        case RemoveDeployment(name):
            services.deployments.undeploy(actor, name)
        case RevokeKey(key_id):
            revoke(caller, key_id)
        case IssueKey():
            return _reissue(caller, command)
        case _:
            carry_out(caller, command)
    return None


def _set_model(caller: Caller, name: str, description: str | None, tags: dict[str, str] | None) -> None:
    with caller.services.store.write() as session:
        if session.models.get(caller.workspace_id, name) is None:
            session.models.ensure(caller.workspace_id, name)
            session.audit.append(caller.actor, "model.create", name)
    if description is not None or tags is not None:
        caller.services.registry.update_model(caller.actor, name, description=description, tags=tags)


def _reissue(caller: Caller, command: IssueKey) -> IssuedKey:
    declared = command.declared
    new = NewKey(
        label=command.label,
        actions=tuple(declared.actions),
        deployments=tuple(declared.deployments),
        networks=tuple(declared.networks),
        expires_seconds=parse_duration(declared.expires),
    )
    made = issue(caller, new)
    if command.replaces:
        revoke(caller, command.replaces)
    return made


def only_planned(steps: list[Step]) -> Applied:
    """The plan as an answer, nothing done."""
    return Applied(changes=tuple(step.change for step in steps))
