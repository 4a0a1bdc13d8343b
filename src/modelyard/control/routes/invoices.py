"""Bills: what a workspace owes for a month."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer, returns
from modelyard.core.access import Action
from modelyard.core.errors import PermissionDenied
from modelyard.core.invoices import Invoice
from modelyard.ledger.invoice import Invoices
from modelyard.ledger.invoice_files import invoice_csv, invoice_html

router = APIRouter(prefix="/api/v1/invoices", tags=["usage"])
Reader = Annotated[Caller, Depends(Needs(Action.READ, Action.AUDIT))]
_STRICT = "default-src 'none'; style-src 'unsafe-inline'"


class InvoiceFormat(StrEnum):
    """How an invoice is told."""

    JSON = "json"  # for programs
    CSV = "csv"  # one row a line, for bookkeeping
    HTML = "html"  # a page to print


@router.get("/{month}", summary="What a month costs", responses=returns(Invoice))
def invoice(
    caller: Reader,
    month: str,
    format: Annotated[InvoiceFormat, Query()] = InvoiceFormat.JSON,  # noqa: A002 - the parameter's name
) -> Response:
    """The bill of a month like ``2026-11`` (UTC), up to now while it is not over. Made from the ledger and the prices of their time."""
    if caller.grant.deployments:
        raise PermissionDenied("This key is for single deployments; a bill is for the whole workspace.")
    made = Invoices(caller.services.store, caller.services.clock).invoice(caller.workspace_id, month)
    if format is InvoiceFormat.JSON:
        return answer(made)
    write, media = (invoice_csv, "text/csv") if format is InvoiceFormat.CSV else (invoice_html, "text/html")
    kind = "attachment" if format is InvoiceFormat.CSV else "inline"
    headers = {
        "content-disposition": f'{kind}; filename="invoice-{made.month}.{format.value}"',
        "cache-control": "no-store",
        "content-security-policy": _STRICT,
    }
    return Response(write(made), media_type=f"{media}; charset=utf-8", headers=headers)
