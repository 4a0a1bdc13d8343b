"""Limits and prices."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, when
from modelyard.core.durations import parse_expiry
from modelyard.core.errors import InvalidRequest
from modelyard.core.limits import Scope, money_text
from modelyard.core.prices import RATES, Price
from modelyard.core.shares import share_subject

app = typer.Typer(rich_markup_mode=None)
limits = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Set, list and remove limits and budgets.")
prices = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Set and list what calls cost.")
app.add_typer(limits, name="limits", epilog=examples("modelyard limits set --key 1f3a9 100/min", "modelyard limits set '10 USD/month'"))
app.add_typer(prices, name="prices", epilog=examples("modelyard prices set --deployment penguins --call 0.001 --currency USD"))


@app.callback()
def _group() -> None:
    """Limits."""


@limits.command("set", epilog=examples("modelyard limits set --deployment penguins '5000 rows/day'"))
def set_limit(
    limit: Annotated[str, typer.Argument(help="Like 100/min, '5000 rows/day', '10 USD/month', '1000 requests total', '4 concurrent'.")],
    key: Annotated[str, typer.Option(help="For one key, by its id.")] = "",
    deployment: Annotated[str, typer.Option(help="For one deployment, whoever calls it.")] = "",
    borrower: Annotated[str, typer.Option("--with", help="With --deployment: for the calls of one workspace it is shared with.")] = "",
    member: Annotated[str, typer.Option(help="For all keys of one member together.")] = "",
    platform: Annotated[bool, typer.Option("--platform", help="For the whole platform.")] = False,
    revision: Annotated[int | None, typer.Option(help="Refuse when the limit is not at this revision any more.")] = None,
    as_json: Json = False,
) -> None:
    """Limit a key, a member, a deployment, the platform or, without any of these, the workspace."""
    if bool(key) + bool(deployment) + bool(member) + platform > 1:
        raise InvalidRequest(
            "Choose one of --key, --member, --deployment and --platform; several limits are set one by one, and all of them hold."
        )
    if borrower and not deployment:
        raise InvalidRequest(f"--with {borrower} needs --deployment: say which of your deployments it borrows.")
    shared = share_subject(deployment, borrower) if borrower else ""
    chosen = {Scope.KEY: key, Scope.PRINCIPAL: member, Scope.SHARE: shared, Scope.DEPLOYMENT: deployment, Scope.PLATFORM: platform}
    scope = next((scope for scope, subject in chosen.items() if subject), Scope.WORKSPACE)
    with connected() as client:
        made = client.limits.set(limit, scope=scope, subject=shared or key or member or deployment, revision=revision)
    if as_json:
        print_json(made)
    else:
        print(f"Limit {made.id}: {made.text} for {' '.join(filter(None, (made.scope.value, made.subject)))}.")


@limits.command("list", epilog=examples("modelyard limits list"))
def list_limits(as_json: Json = False) -> None:
    """List the limits of the workspace."""
    with connected() as client:
        found = client.limits.list()
    if as_json:
        print_json(found)
        return
    rows = [(limit.id, limit.scope.value, limit.subject, limit.text, limit.revision, when(limit.updated_ns)) for limit in found]
    print_table(["id", "for", "name", "limit", "revision", "changed"], rows, empty="There are no limits.")


@limits.command("remove", epilog=examples("modelyard limits remove 3"))
def remove_limit(limit: Annotated[int, typer.Argument(help="Id of the limit, as 'limits list' shows it.")], as_json: Json = False) -> None:
    """End a limit."""
    with connected() as client:
        client.limits.remove(limit)
    if as_json:
        print_json({"id": limit, "removed": True})
    else:
        print(f"Limit {limit} is removed.")


@prices.command("set", epilog=examples("modelyard prices set --deployment penguins --call 0.001 --row 0.0001 --currency USD"))
def set_price(
    currency: Annotated[str, typer.Option(help="Three capital letters, like USD.")],
    deployment: Annotated[str, typer.Option(help="For one deployment; all that have no price of their own when left out.")] = "",
    version: Annotated[str, typer.Option(help="For one version only, like penguins@2.")] = "",
    call: Annotated[str, typer.Option(help="For each answered call.")] = "0",
    row: Annotated[str, typer.Option(help="For each row.")] = "0",
    tokens_in: Annotated[str, typer.Option(help="For 1000 tokens read.")] = "0",
    tokens_out: Annotated[str, typer.Option(help="For 1000 tokens written.")] = "0",
    tokens_cached: Annotated[str, typer.Option(help="For 1000 tokens read from a cache.")] = "0",
    compute_second: Annotated[str, typer.Option(help="For a second that the model computed.")] = "0",
    explanation: Annotated[str, typer.Option(help="For each explanation.")] = "0",
    cached_call: Annotated[
        str | None, typer.Option(help="For a call answered without computing, in place of all these; as any other when left out.")
    ] = None,
    after: Annotated[str, typer.Option("--from", help="When it takes effect, like 2027-01-31 or 30d; now when left out.")] = "",
    as_json: Json = False,
) -> None:
    """Set what calls cost from now, or a later time, on; earlier calls stay priced as they were."""
    asked = (call, row, tokens_in, tokens_out, tokens_cached, compute_second, explanation, cached_call)
    rates = {name: text for name, text in zip(RATES, asked, strict=True) if text is not None}
    now = time.time_ns()
    effective = now + int(parse_expiry(after, now) * 1e9) if after else 0
    with connected() as client:
        made = client.prices.set(currency, deployment=deployment, version=version, effective_ns=effective, **rates)
    if as_json:
        print_json(made)
    else:
        priced = " in ".join(filter(None, (version, made.deployment or "every deployment without a price of its own")))
        print(f"From {when(made.effective_ns)} on {priced} costs {_rates(made)}.")


@prices.command("list", epilog=examples("modelyard prices list"))
def list_prices(as_json: Json = False) -> None:
    """List prices, past and to come."""
    with connected() as client:
        found = client.prices.list()
    if as_json:
        print_json(found)
        return
    rows = [(price.deployment or "(others)", price.version, _rates(price), when(price.effective_ns)) for price in found]
    print_table(["deployment", "version", "price", "from"], rows, empty="There are no prices; calls cost nothing.")


def _rates(price: Price) -> str:
    named = [f"{money_text(getattr(price, name) or 0)} {price.currency}/{_PER.get(name, name)}" for name in price.named]
    return ", ".join(named) or "nothing"


_PER = {
    "tokens_in": "1000 tokens in",
    "tokens_out": "1000 tokens out",
    "tokens_cached": "1000 cached tokens",
    "compute_second": "second of computing",
    "cached_call": "cached call",
}
