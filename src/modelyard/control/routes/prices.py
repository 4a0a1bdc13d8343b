"""Prices: what calls cost, from when on."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer, returns
from modelyard.control.routes.limits import whole_workspace
from modelyard.control.schemas import PriceBody
from modelyard.core.access import Action
from modelyard.core.limits import parse_money
from modelyard.core.prices import RATES, ListedPrice, Price

router = APIRouter(prefix="/api/v1/prices", tags=["prices"])
Reader = Annotated[Caller, Depends(Needs(Action.READ, Action.AUDIT))]
Manager = Annotated[Caller, Depends(Needs(Action.MANAGE))]


@router.get("", summary="Prices, past and to come", responses=returns(list[ListedPrice]))
def listed(caller: Reader) -> Response:
    """By deployment, in the order in which they take effect; amounts are millionths of the currency's unit."""
    return answer(caller.services.prices.list(caller.workspace_id))


@router.post("", summary="Adds a price", status_code=201, responses=returns(ListedPrice, 201))
def add(caller: Manager, body: PriceBody) -> Response:
    """It replaces the one before from the moment it takes effect; what was used earlier stays priced as it was."""
    whole_workspace(caller)
    price = Price(
        id=0, workspace_id=caller.workspace_id, deployment=body.deployment, currency=body.currency, effective_ns=body.effective_ns
    )
    rates = {name: parse_money(text) for name in RATES if (text := getattr(body, name)) is not None}
    made = caller.services.prices.add(caller.actor, msgspec.structs.replace(price, **rates), body.version)
    caller.services.propagate()
    return answer(made, 201)
