"""From a document and the state that is to the changes between them. Nothing here reads or writes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelyard.control.document import DeclaredKey, DeclaredModel, DeclaredVersion, Document
from modelyard.control.governed import Governed, Governing, Line, plan_members, plan_pruning, plan_rules, plan_workspaces
from modelyard.core.access import Action, Key
from modelyard.core.api import Change, ChangeKind
from modelyard.core.deployments import Target
from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.models import ArtifactFile, Card, Model, Version, check_name
from modelyard.core.policy import parse_policy
from modelyard.registry.artifacts import artifact_digest
from modelyard.registry.resolve import CHAMPION


@dataclass(frozen=True)
class SetModel:
    """Ensure a model, and change what is not None."""

    name: str
    description: str | None
    tags: dict[str, str] | None


@dataclass(frozen=True)
class AddVersion:
    model: str
    declared: DeclaredVersion


@dataclass(frozen=True)
class SetAlias:
    model: str
    alias: str
    version: str


@dataclass(frozen=True)
class RemoveAlias:
    model: str
    alias: str


@dataclass(frozen=True)
class SetDeployment:
    name: str
    targets: tuple[Target, ...]
    policy: dict[str, Any] | None
    accept_flagged: bool


@dataclass(frozen=True)
class RemoveDeployment:
    name: str


@dataclass(frozen=True)
class IssueKey:
    """Issue a key, and revoke the one that it stands in for, where there is one."""

    label: str
    declared: DeclaredKey
    replaces: str = ""


@dataclass(frozen=True)
class RevokeKey:
    key_id: str


Command = SetModel | AddVersion | SetAlias | RemoveAlias | SetDeployment | RemoveDeployment | IssueKey | RevokeKey | Governing


@dataclass(frozen=True)
class Step:
    """One line of a plan and what makes it true; nothing for a thing that is as it shall be."""

    change: Change
    needs: Action
    command: Command | None


@dataclass(frozen=True)
class State:
    """What is. Deployments are as stored; keys are the valid ones by label; sizes are those of the uploads a document names."""

    models: Mapping[str, Model] = field(default_factory=dict)
    versions: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    deployments: Mapping[str, tuple[tuple[Target, ...], dict[str, Any]]] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    caller_key: str = ""
    """Public id of the key that asks: pruning never revokes it."""
    governed: Governed = field(default_factory=Governed)


def plan(document: Document, state: State, *, prune: bool = False) -> list[Step]:
    """The steps from ``state`` to ``document``, in an order in which they can be done.

    Raises InvalidRequest or NotFound when the document names what neither is nor will be.
    """
    steps = _steps(plan_workspaces(document, state.governed))
    for name, model in (document.models or {}).items():
        check_name(name, "model")
        steps += _model(name, model, state)
    for name, wanted in (document.deployments or {}).items():
        check_name(name, "deployment")
        targets = tuple(msgspec.convert(target.model_dump(), Target) for target in wanted.targets)
        for target in targets:
            _check_target(name, target, document, state)
        settled = tuple(_settled(target, document, state) for target in targets)
        if wanted.policy is not None:
            parse_policy(wanted.policy)
        steps.append(_deployment(SetDeployment(name, settled, wanted.policy, wanted.accept_flagged), state))
    steps += _steps(plan_members(document, state.governed))
    keys = {label: _key(label, key, state) for label, key in (document.keys or {}).items()}
    steps += keys.values()
    fresh = dict.fromkeys(state.keys, False) | {label: step.command is not None for label, step in keys.items()}
    steps += _steps(plan_rules(document, state.governed, [*state.deployments, *(document.deployments or {})], fresh))
    if prune:
        steps += _steps(plan_pruning(document, state.governed))
        steps += _pruned(document, state)
    return steps


def _steps(lines: Iterable[Line]) -> list[Step]:
    return [_step(line.kind, line.what, line.name, line.command, line.detail, needs=line.needs) for line in lines]


def _model(name: str, wanted: DeclaredModel, state: State) -> Iterator[Step]:
    known = state.models.get(name)
    described = known is not None and wanted.description in {None, known.description} and wanted.tags in (None, known.tags)
    if known is None:
        yield _step(ChangeKind.CREATE, "model", name, SetModel(name, wanted.description, wanted.tags))
    else:
        yield _step(
            ChangeKind.UNCHANGED if described else ChangeKind.UPDATE,
            "model",
            name,
            None if described else SetModel(name, wanted.description, wanted.tags),
            "" if described else "description or tags",
        )
    number = known.latest if known else 0
    existing = {version.number for version in state.versions.get(name, ())}
    for declared in wanted.versions:
        found = _same_version(declared, state.versions.get(name, ()), state)
        if found is None:
            number += 1
            existing.add(number)
            yield _step(ChangeKind.CREATE, "version", f"{name}@{number}", AddVersion(name, declared), f"{len(declared.files)} file(s)")
        else:
            yield _step(ChangeKind.UNCHANGED, "version", found.reference, None)
    for alias, label in wanted.aliases.items():
        yield _alias(name, alias, str(label), latest=number, existing=existing, known=known)


def _same_version(declared: DeclaredVersion, versions: Sequence[Version], state: State) -> Version | None:
    files = []
    for file in declared.files:
        if file.digest not in state.sizes:
            raise InvalidRequest(
                f"The content of {file.path!r} (digest {file.digest[:12]}…) is not here; upload it first: PUT /api/v1/uploads."
            )
        files.append(ArtifactFile(path=file.path, digest=file.digest, size=state.sizes[file.digest]))
    digest = artifact_digest(files)
    card = msgspec.convert(declared.card.model_dump(), Card)
    for version in versions:
        same = version.digest == digest and version.artifact.format == declared.format
        if same and version.tags == declared.tags and version.metrics == declared.metrics and version.card == card:
            return version
    return None


def _alias(model: str, alias: str, label: str, *, latest: int, existing: set[int], known: Model | None) -> Step:
    check_name(alias, "alias")
    number = latest if label == "latest" else int(label) if label.isdigit() else 0
    if number not in existing:
        raise NotFound(f"Alias {model}@{alias} cannot point at {label!r}: there is no such version; give a number or 'latest'.")
    now = known.aliases.get(alias) if known else None
    if now == number:
        return _step(ChangeKind.UNCHANGED, "alias", f"{model}@{alias}", None)
    kind = ChangeKind.CREATE if now is None else ChangeKind.UPDATE
    detail = f"version {number}" if now is None else f"version {now} → {number}"
    return _step(kind, "alias", f"{model}@{alias}", SetAlias(model, alias, str(number)), detail)


def _check_target(name: str, target: Target, document: Document, state: State) -> None:
    declared = (document.models or {}).get(target.model)
    known = state.models.get(target.model)
    if declared is None and known is None:
        names = [*state.models, *(document.models or {})]
        raise NotFound(f"Deployment {name!r} names a model {target.model!r}, which there is not.{did_you_mean(target.model, names)}")
    aliases = {*(known.aliases if known else {}), *(declared.aliases if declared else {})}
    if target.version not in {"", "latest", *aliases} and not target.version.lstrip("v").isdigit():
        raise NotFound(
            f"Deployment {name!r} names {target.model}@{target.version}, an alias that there is not.{did_you_mean(target.version, aliases)}"
        )


def _deployment(command: SetDeployment, state: State) -> Step:
    name, targets = command.name, command.targets
    detail = ", ".join(f"{target.model}@{target.version} {target.weight}" for target in targets)
    if name not in state.deployments:
        return _step(ChangeKind.CREATE, "deployment", name, command, detail, needs=Action.DEPLOY)
    now, rules = state.deployments[name]
    if targets == now and command.policy in (None, rules):
        return _step(ChangeKind.UNCHANGED, "deployment", name, None, "", needs=Action.DEPLOY)
    return _step(ChangeKind.UPDATE, "deployment", name, command, detail, needs=Action.DEPLOY)


def _settled(target: Target, document: Document, state: State) -> Target:
    """A target as it will be stored: the newest version is fixed to its number, and no version means the champion where there is one."""
    known, declared = state.models.get(target.model), (document.models or {}).get(target.model)
    version = target.version
    if version not in {"", "latest"}:
        return target if not version.startswith("v") or not version[1:].isdigit() else msgspec.structs.replace(target, version=version[1:])
    aliases = {*(known.aliases if known else {}), *(declared.aliases if declared else {})}
    if not version and CHAMPION in aliases:
        return msgspec.structs.replace(target, version=CHAMPION)
    versions = state.versions.get(target.model, ())
    new = sum(_same_version(item, versions, state) is None for item in declared.versions) if declared else 0
    return msgspec.structs.replace(target, version=str((known.latest if known else 0) + new))


def _key(label: str, wanted: DeclaredKey, state: State) -> Step:
    known = state.keys.get(label)
    scope = ", ".join(wanted.deployments) or "every deployment"
    detail = f"{', '.join(wanted.actions)} on {scope}" + (f" from {', '.join(wanted.networks)}" if wanted.networks else "")
    if known is None:
        return _step(ChangeKind.CREATE, "key", label, IssueKey(label, wanted), detail, needs=Action.KEYS)
    same = set(known.actions) == set(wanted.actions) and set(known.deployments) == set(wanted.deployments)
    if same and set(known.networks) == set(wanted.networks):
        return _step(ChangeKind.UNCHANGED, "key", label, None, "", needs=Action.KEYS)
    detail += "; a new secret is issued and the old key revoked"
    return _step(ChangeKind.UPDATE, "key", label, IssueKey(label, wanted, known.public_id), detail, needs=Action.KEYS)


def _pruned(document: Document, state: State) -> Iterator[Step]:
    for name in state.deployments if document.deployments is not None else ():
        if name not in (document.deployments or {}):
            yield _step(ChangeKind.DELETE, "deployment", name, RemoveDeployment(name), "", needs=Action.DEPLOY)
    for name, model in (document.models or {}).items():
        for alias in state.models[name].aliases if name in state.models else ():
            if alias not in model.aliases:
                yield _step(ChangeKind.DELETE, "alias", f"{name}@{alias}", RemoveAlias(name, alias))
    for label, key in state.keys.items() if document.keys is not None else ():
        # Administrators' keys are how people get in; losing the last one by a document would lock them out.
        if label not in (document.keys or {}) and Action.ADMIN not in key.actions and key.public_id != state.caller_key:
            yield _step(ChangeKind.DELETE, "key", label or key.public_id, RevokeKey(key.public_id), "", needs=Action.KEYS)


def _step(kind: ChangeKind, what: str, name: str, command: Command | None, detail: str = "", *, needs: Action = Action.DEVELOP) -> Step:
    return Step(Change(change=kind, kind=what, name=name, detail=detail), needs, command)
