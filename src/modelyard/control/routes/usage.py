"""What calls used, and where the answer of one came from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import BYTES, answer, returns
from modelyard.control.spool import written
from modelyard.core.access import Action
from modelyard.core.durations import parse_moment
from modelyard.core.usage import USAGE_GROUPS, Trace, UsageRow, UsageStep
from modelyard.ledger.export import ExportFormat, write_usage
from modelyard.ledger.query import UsageQuery, UsageWish
from modelyard.ledger.trace import Tracer

router = APIRouter(prefix="/api/v1", tags=["usage"])
Anybody = Annotated[Caller, Depends(Needs())]
Reader = Annotated[Caller, Depends(Needs(Action.READ, Action.AUDIT))]
_BY = ["deployment"]


def wish(  # noqa: PLR0917 - the parameters of a query
    caller: Anybody,
    since: Annotated[str, Query(description="ISO time, or how long ago, like 7d.", examples=["2027-01-01T00:00:00Z", "7d"])] = "",
    until: Annotated[str, Query(description="Before which; the same forms.")] = "",
    step: Annotated[UsageStep, Query(description="Length of the periods (UTC).")] = UsageStep.ALL,
    by: Annotated[list[str], Query(description=f"What keeps sums apart, comma-separated or repeated: {', '.join(USAGE_GROUPS)}.")] = _BY,
    deployment: Annotated[str, Query(description="Only calls of this one.")] = "",
    key_id: Annotated[str, Query(description="Only calls with this key, by its id.")] = "",  # not "key": that would look like a secret
    shared: Annotated[bool, Query(description="Calls that other workspaces made of what this one shares with them.")] = False,
) -> UsageWish:
    """What a caller wants to know, and may."""
    now = caller.services.clock.time_ns()
    groups = [part.strip() for name in by for part in name.split(",") if part.strip()]
    return UsageWish(
        workspace_id=caller.workspace_id,
        since_ns=parse_moment(since, now),
        until_ns=parse_moment(until, now),
        step=step,
        by=tuple(dict.fromkeys(groups)),
        deployment=deployment,
        key=key_id,
        may=caller.grant.deployments,
        by_others=shared,
    )


Wished = Annotated[UsageWish, Depends(wish)]


@router.get("/usage", summary="What calls used, summed", responses=returns(list[UsageRow]))
def usage(caller: Reader, wished: Wished) -> Response:
    """Sums of whole minutes, in order of time and names. Calls of the last seconds may be missing."""
    return answer(UsageQuery(caller.services.store).usage(wished))


@router.get("/usage/export", summary="The same as a file, of any length", responses=BYTES)
def export(caller: Reader, wished: Wished, format: Annotated[ExportFormat, Query()] = ExportFormat.CSV) -> Response:  # noqa: A002 - the parameter's name
    """CSV, JSON lines or Parquet. Sums are those of ``GET /usage``; the database is read before the answer begins."""
    pages = UsageQuery(caller.services.store).pages(wished)
    by = ("workspace", *wished.by) if wished.by_others else wished.by
    pieces = written(lambda file: write_usage(pages, by, format, file), caller.services.home.temporary)
    headers = {"content-disposition": f'attachment; filename="usage.{format.value}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, headers=headers, media_type=format.media_type)


@router.get("/trace/{request_id}", summary="One call, and where its answer came from", responses=returns(Trace))
def trace(caller: Reader, request_id: str) -> Response:
    """``request_id`` is what the call's answer said in ``x-modelyard-request-id``, or in ``x-request-id`` if the caller sent none."""
    tracer = Tracer(caller.services.store, caller.services.home.journal)
    return answer(tracer.trace(caller.workspace_id, request_id, may=caller.grant.deployments))
