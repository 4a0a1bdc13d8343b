"""What calls used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer
from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest

router = APIRouter(prefix="/api/v1", tags=["usage"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Dimension = Literal["minute", "key_id", "deployment_id", "version_id", "protocol", "kind", "status"]
DEFAULT: list[Dimension] = ["deployment_id", "version_id", "key_id"]


@router.get("/usage", summary="What calls used, summed")
def usage(
    caller: Reader,
    since: Annotated[str, Query(examples=["2027-01-01T00:00:00Z"])] = "",
    until: str = "",
    by: Annotated[list[Dimension], Query()] = DEFAULT,
) -> Response:
    """From ``since`` to before ``until`` (ISO 8601, to the minute; empty for no bound), split by the dimensions ``by``."""
    with caller.services.store.read() as session:
        found = session.usage.totals(caller.workspace_id, since_minute=_minute(since, "since"), until_minute=_minute(until, "until"), by=by)
        names = {deployment.id: deployment.name for deployment in session.deployments.list(caller.workspace_id)}
    return answer([msgspec.structs.asdict(row) | {"deployment": names.get(row.deployment_id, "")} for row in found])


def _minute(text: str, name: str) -> int:
    """Minutes since the epoch; 0 for no bound."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"Parameter {name!r} is {text!r}; write a time like 2027-01-01T00:00:00Z.") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 60)
