"""From what people write to rows: references, with the nearest name where there is none."""

from __future__ import annotations

from modelyard.core.errors import Conflict, NotFound, did_you_mean
from modelyard.core.models import Model, Reference, Version
from modelyard.store.database import Session

CHAMPION = "champion"
"""The alias that a reference without a version means, where it is set."""
LATEST = "latest"


def find_model(session: Session, workspace_id: int, name: str) -> Model:
    """The model; one of another workspace is as missing as one that never was.

    Raises NotFound.
    """
    model = session.models.get(workspace_id, name)
    if model is None:
        raise NotFound(f"There is no model {name!r}.{did_you_mean(name, session.models.names(workspace_id))}")
    return model


def find_version(session: Session, workspace_id: int, reference: Reference) -> Version:
    """The version by number, alias or ``latest``; without any of them the champion, or the newest where there is none.

    Raises NotFound.
    """
    model = find_model(session, workspace_id, reference.name)
    number = resolve_number(model, reference.version)
    version = session.versions.get(workspace_id, model.name, number)
    if version is None:
        newest = f" Its newest is {model.latest}." if model.latest else " It has none yet."
        raise NotFound(f"Model {model.name!r} has no version {number}.{newest}")
    return version


def resolve_number(model: Model, version: str) -> int:
    """The number that a reference's version part means; it need not exist when it is written as a number.

    Raises NotFound.
    """
    wanted = Reference(model.name, version).number
    if wanted is not None:
        return wanted
    if version not in {"", LATEST}:
        number = model.aliases.get(version)
        if number is None:
            known = f" Its aliases: {', '.join(sorted(model.aliases))}." if model.aliases else " It has no aliases."
            raise NotFound(f"Model {model.name!r} has no alias {version!r}.{did_you_mean(version, model.aliases)}{known}")
        return number
    if not model.latest:
        raise NotFound(f"Model {model.name!r} has no version yet.")
    return model.aliases.get(CHAMPION, model.latest) if not version else model.latest


def deployments_using(session: Session, workspace_id: int, model: Model, number: int | None = None) -> list[str]:
    """Names of the deployments that route to a model, or to one version of it."""
    found = []
    for deployment in session.deployments.list(workspace_id):
        for target in deployment.targets:
            if target.model == model.name and (number is None or _points_at(model, target.version, number)):
                found.append(deployment.name)
                break
    return found


def _points_at(model: Model, version: str, number: int) -> bool:
    try:
        return resolve_number(model, version) == number
    except NotFound:
        return False


def previous_number(history: list[tuple[int, int]], current: int, existing: set[int]) -> int:
    """Where an alias goes back to: the version before the one it points at, earlier rollbacks undone.

    ``history`` is newest first, as ``AliasesTable.history`` gives it; ``current`` is 0 for an alias that is not set. Going back to
    the version before counts as a rollback, however it was done, so that two rollbacks in a row go back two steps.
    Raises Conflict when there is nothing to go back to.
    """
    steps: list[int] = []
    for number, _ in reversed(history):
        if number not in existing or (steps and steps[-1] == number):
            continue
        if len(steps) > 1 and steps[-2] == number:
            steps.pop()
        else:
            steps.append(number)
    if steps and steps[-1] == current:
        steps.pop()
    if not steps:
        raise Conflict("There is no earlier version to go back to; name one with promote instead.")
    return steps[-1]
