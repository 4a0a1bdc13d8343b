"""The names that clients call."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.registering import check_reach
from modelyard.control.schemas import DeploymentBody, RolloutBody
from modelyard.core.access import Action
from modelyard.core.api import DeploymentView, LogChunk
from modelyard.core.deployments import Target
from modelyard.core.errors import NotFound, did_you_mean
from modelyard.core.rollout import RolloutView, Step
from modelyard.observability.log_files import read_log
from modelyard.serving.replicas.member import log_of

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]
Deployer = Annotated[Caller, Depends(Needs(Action.DEPLOY))]


@router.get("", summary="All deployments with their state", responses=returns(list[DeploymentView]))
def listed(caller: Reader) -> Response:
    found = caller.services.deployments.list(caller.workspace_id)
    return answer([_placed(caller, view) for view in found if caller.grant.allows(Action.READ, view.name)])


@router.get("/{name}", summary="One deployment with its state", responses=returns(DeploymentView))
def shown(caller: Reader, name: str) -> Response:
    caller.check_deployment(name, Action.READ)
    return answer(_placed(caller, caller.services.deployments.get(caller.workspace_id, name)))


@router.put("/{name}", summary="Makes a deployment route to versions", responses=returns(DeploymentView))
def put(caller: Deployer, name: str, body: DeploymentBody) -> Response:
    """Creates or changes it. Workers load first and switch then; no call fails in between."""
    caller.check_deployment(name, Action.DEPLOY)
    check_reach(caller, body.policy)
    targets = tuple(msgspec.convert(target.model_dump(), Target) for target in body.targets)
    view = caller.services.deployments.deploy(
        caller.actor, name, targets, policy=body.policy, expect_revision=body.revision or None, accept_flagged=body.accept_flagged
    )
    return answer(_placed(caller, view))


@router.get("/{name}/log", summary="What its replica processes wrote, from an offset on", responses=returns(LogChunk))
def log(caller: Developer, name: str, version: str = "", offset: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Of one version, ``model@number``; of the first one without. What runs inside the workers writes no log of its own."""
    caller.check_deployment(name, Action.READ)
    versions = caller.services.deployments.versions(caller.workspace_id, name)
    known = [found.reference for found in versions]
    chosen = next((found for found in versions if version in {"", found.reference}), None)
    if chosen is None:
        raise NotFound(f"Deployment {name!r} does not serve {version or 'anything'}.{did_you_mean(version, known)}")
    return answer(read_log(log_of(caller.services.home.logs, chosen.id), offset))


@router.get("/{name}/rollout", summary="Where its versions stand against each other", responses=returns(RolloutView))
def rollout(caller: Reader, name: str) -> Response:
    """Counts since its last revision, what shadow and experiment say, and what its rules would do now."""
    caller.check_deployment(name, Action.READ)
    return answer(caller.services.rollouts.status(caller.workspace_id, name))


@router.post("/{name}/rollout", summary="Ends a rollout by hand", responses=returns(RolloutView))
def decided(caller: Deployer, name: str, body: RolloutBody) -> Response:
    """Promotes the candidate, or takes it back, whatever the rules say."""
    caller.check_deployment(name, Action.DEPLOY)
    return answer(caller.services.rollouts.decide(caller.actor, name, Step(body.step)))


@router.delete("/{name}", summary="Stops serving", status_code=204, responses=DONE)
def removed(caller: Deployer, name: str) -> Response:
    caller.check_deployment(name, Action.DEPLOY)
    caller.services.deployments.undeploy(caller.actor, name)
    return done()


def _placed(caller: Caller, view: DeploymentView) -> DeploymentView:
    return msgspec.structs.replace(view, url=f"{caller.inference_url}/v1/deployments/{view.name}/predict")
