"""Models, comparison and aliases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.references import reference
from modelyard.control.schemas import AliasBody, ModelChanges
from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest
from modelyard.core.models import Model, Version

router = APIRouter(prefix="/api/v1/models", tags=["models"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]


@router.get("", summary="Models by name", responses=returns(list[Model]))
def listed(
    caller: Reader,
    search: Annotated[str, Query(max_length=100)] = "",
    tag: Annotated[list[str], Query(max_length=20, examples=[["team=birds"]])] = [],  # noqa: B006 - FastAPI copies it
    metric: Annotated[list[str], Query(max_length=20, examples=[["accuracy>=0.9"]])] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Those whose name contains ``search``, that carry every ``tag`` (``name=value``), of which a version satisfies every ``metric``."""
    tags: dict[str, str] = {}
    for pair in tag:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"{pair!r} is no tag; write it like team=birds.")
        tags[name] = value
    return answer(caller.services.registry.models(caller.workspace_id, search=search, tags=tags, metrics=metric))


@router.get("/{name}", summary="One model", responses=returns(Model))
def shown(caller: Reader, name: str) -> Response:
    return answer(caller.services.registry.model(caller.workspace_id, name))


@router.patch("/{name}", summary="Changes description or tags", responses=returns(Model))
def changed(caller: Developer, name: str, body: ModelChanges) -> Response:
    return answer(caller.services.registry.update_model(caller.actor, name, description=body.description, tags=body.tags))


@router.delete("/{name}", summary="Removes a model with all its versions", status_code=204, responses=DONE)
def removed(caller: Developer, name: str) -> Response:
    """Refused while an alias or a deployment uses it."""
    caller.services.registry.delete_model(caller.actor, name)
    return done()


@router.get("/{name}/compare", summary="Two versions side by side")
def compared(caller: Reader, name: str, a: Annotated[str, Query(examples=["1"])], b: Annotated[str, Query(examples=["2"])]) -> Response:
    """``a`` and ``b`` are versions or aliases of this model, or ``other@version`` for one of another."""
    first, second = (reference(*(label.split("@", 1) if "@" in label else (name, label))) for label in (a, b))
    return answer(caller.services.registry.compare(caller.workspace_id, first, second))


@router.put("/{name}/aliases/{alias}", summary="Points an alias at a version", responses=returns(Version))
def aliased(caller: Developer, name: str, alias: str, body: AliasBody) -> Response:
    """Deployments that follow the alias switch within a second."""
    moved = caller.services.registry.set_alias(caller.actor, reference(name, body.version), alias)
    caller.services.propagate()
    return answer(moved)


@router.delete("/{name}/aliases/{alias}", summary="Removes an alias", status_code=204, responses=DONE)
def unaliased(caller: Developer, name: str, alias: str) -> Response:
    caller.services.registry.remove_alias(caller.actor, name, alias)
    return done()


@router.post("/{name}/aliases/{alias}/rollback", summary="Points an alias back at what it meant before", responses=returns(Version))
def rolled_back(caller: Developer, name: str, alias: str) -> Response:
    moved = caller.services.registry.rollback(caller.actor, name, alias)
    caller.services.propagate()
    return answer(moved)
