"""Long work."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer, returns
from modelyard.control.schemas import NewJobBody, ResumeBody
from modelyard.core.access import Action
from modelyard.core.api import LogChunk
from modelyard.core.jobs import Job, JobStatus, Limits

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]


@router.post("", summary="Queues a job", status_code=201, responses=returns(Job, 201))
def submit(caller: Developer, body: NewJobBody) -> Response:
    for right in sorted(caller.services.jobs.rights(body.kind, body.spec)):
        caller.check(right)
    limits = msgspec.convert(body.limits.model_dump(), Limits)
    return answer(caller.services.jobs.submit(caller.actor, body.kind, body.spec, priority=body.priority, limits=limits), 201)


@router.get("", summary="Jobs, newest first", responses=returns(list[Job]))
def listed(
    caller: Reader,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    return answer(caller.services.jobs.list(caller.workspace_id, status=status, limit=limit, before_id=before))


@router.get("/{job}", summary="One job with its progress", responses=returns(Job))
def shown(caller: Reader, job: int) -> Response:
    return answer(caller.services.jobs.get(caller.workspace_id, job))


@router.get("/{job}/log", summary="What a job wrote, from an offset on", responses=returns(LogChunk))
def log(caller: Reader, job: int, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
    return answer(caller.services.jobs.log(caller.workspace_id, job, offset))


@router.post("/{job}/cancel", summary="Asks for the end of a job", responses=returns(Job))
def cancel(caller: Developer, job: int) -> Response:
    return answer(caller.services.jobs.cancel(caller.actor, job))


@router.post("/{job}/resume", summary="Queues a job that goes on where one has ended", status_code=201, responses=returns(Job, 201))
def resume(caller: Developer, job: int, body: ResumeBody) -> Response:
    old = caller.services.jobs.get(caller.workspace_id, job)
    for right in sorted(caller.services.jobs.rights(old.kind, old.spec | body.changes)):
        caller.check(right)
    return answer(caller.services.jobs.resume(caller.actor, job, body.changes), 201)
