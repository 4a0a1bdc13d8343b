"""Setting limits and prices: each change with its audit row in the same transaction."""

from __future__ import annotations

import msgspec

from modelyard.core.access import Grant
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.limits import Limit, Measure, Quantity, Scope, Window, check_quantity
from modelyard.core.models import Version
from modelyard.core.prices import ListedPrice, Price, check_rates
from modelyard.core.shares import share_subject
from modelyard.gate.counters import CAPACITY
from modelyard.gate.currencies import currencies_with_borrowers
from modelyard.gate.shares import workspace_named
from modelyard.store.database import Session, Store
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

Limits = list[Limit]
LATEST_NS = 1 << 62
_MINUTE_NS = 60_000_000_000
_MONEY = Quantity(measure=Measure.MONEY, window=Window.TOTAL, amount=1, currency="USD")


class LimitService:
    """Sets, lists and removes the limits of workspaces. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def set(self, actor: Actor, scope: Scope, subject: str, quantity: Quantity, *, expect_revision: int | None = None) -> Limit:
        """Creates a limit, or changes the amount of the one with this scope, subject, measure and window.

        ``expect_revision`` is what was read before (0: that there was none); None does not check. Raises InvalidRequest, NotFound for
        a subject that does not exist, PermissionDenied for the platform from another workspace, Conflict when somebody was faster.
        """
        check_quantity(quantity)
        with self._store.write() as session:
            _check_subject(session, actor, scope, subject)
            _check_currency(session, actor.workspace_id, quantity.currency, everywhere=scope is Scope.PLATFORM)
            wish = Limit(
                id=0,
                workspace_id=actor.workspace_id,
                scope=scope,
                subject=subject,
                created_by=actor.name,
                **msgspec.structs.asdict(quantity),
            )
            current = session.limits.find(wish)
            if expect_revision is not None and expect_revision != (current.revision if current else 0):
                stands = f"it is {current.text} at revision {current.revision}" if current else "there is none"
                raise Conflict(f"The limit has changed: {stands}, not at revision {expect_revision}; read it again.")
            if current is None:
                if len(session.limits.all()) >= CAPACITY:
                    raise Conflict(f"There are {CAPACITY} limits already, more than workers can count; remove some.")
                made = session.limits.add(wish)
                session.audit.append(actor, "limit.create", _subject(made), after={"limit": made.text})
                return made
            if current.amount == quantity.amount and current.currency == quantity.currency:
                return current
            if current.currency != quantity.currency:
                raise Conflict(f"The limit counts {current.currency}; remove it before you set one in {quantity.currency}.")
            made = session.limits.change(actor.workspace_id, current.id, quantity.amount, current.revision)
            session.audit.append(actor, "limit.change", _subject(made), before={"limit": current.text}, after={"limit": made.text})
            return made

    def list(self, workspace_id: int) -> Limits:
        """Limits that a workspace has set."""
        with self._store.read() as session:
            return session.limits.list(workspace_id)

    def binding(self, grant: Grant) -> Limits:
        """Limits that bind calls with a key: its own and its principal's, of deployments it may call, its workspace and the platform."""

        def binds(limit: Limit) -> bool:
            if limit.scope is Scope.PLATFORM:
                return True
            if limit.workspace_id != grant.workspace_id:
                return (limit.scope, limit.workspace_id, limit.subject) in shared
            if limit.scope is Scope.SHARE:
                return False
            if limit.scope is Scope.DEPLOYMENT:
                return not grant.deployments or limit.subject in grant.deployments
            if limit.scope is Scope.PRINCIPAL:
                return limit.subject == name
            return limit.scope is Scope.WORKSPACE or limit.subject == grant.public_id

        with self._store.read() as session:
            name = session.principals.names([grant.principal_id]).get(grant.principal_id)
            received = session.shares.received(grant.workspace_id)
            shares = [share for share in received if grant.covers(share.name)]
            workspace = session.workspaces.get(grant.workspace_id)
            mine = workspace.name if workspace is not None else ""
            shared = {(Scope.DEPLOYMENT, share.workspace_id, share.deployment) for share in shares}
            shared |= {(Scope.SHARE, share.workspace_id, share_subject(share.deployment, mine)) for share in shares}
            found = [limit for limit in session.limits.all() if binds(limit)]
        # Who has set them is the administrators' own affair.
        return [msgspec.structs.replace(limit, created_by="") for limit in found]

    def remove(self, actor: Actor, limit_id: int) -> None:
        """Ends a limit; workers stop counting by it within a second.

        Raises NotFound.
        """
        with self._store.write() as session:
            gone = session.limits.remove(actor.workspace_id, limit_id)
            session.audit.append(actor, "limit.remove", _subject(gone), before={"limit": gone.text})


class PriceService:
    """Adds and lists prices. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def add(self, actor: Actor, price: Price, version: str = "") -> ListedPrice:
        """A price from ``effective_ns`` on (0: now), or rather from the beginning of that minute, so that sums by minute have one price.

        ``version`` is ``model@number`` where it is for one version only.

        Raises InvalidRequest for rates that cannot be and for a time that has passed: what was used is billed as it was priced.
        """
        check_rates(price)
        now = self._clock.time_ns()
        if price.effective_ns and not now - _MINUTE_NS <= price.effective_ns < LATEST_NS:
            raise InvalidRequest("A price takes effect now or later; what was used before stays priced as it was.")
        with self._store.write() as session:
            if price.deployment:
                _check_subject(session, actor, Scope.DEPLOYMENT, price.deployment, limits=False)
            _check_currency(session, actor.workspace_id, price.currency)
            priced = _version(session, actor.workspace_id, version) if version else None
            made = session.prices.add(
                msgspec.structs.replace(
                    price,
                    workspace_id=actor.workspace_id,
                    version_id=priced.id if priced is not None else 0,
                    effective_ns=(price.effective_ns or now) // _MINUTE_NS * _MINUTE_NS,
                    created_by=actor.name,
                )
            )
            after = {name: getattr(made, name) for name in made.named}
            after |= {name: value for name in ("currency", "version_id", "effective_ns") if (value := getattr(made, name))}
            session.audit.append(actor, "price.add", f"deployment:{made.deployment or '*'}", after=after)
            return ListedPrice.of_version(made, priced.reference if priced is not None else "")

    def list(self, workspace_id: int) -> list[ListedPrice]:
        """Prices, past and to come, by deployment in the order in which they take effect."""
        with self._store.read() as session:
            return listed_prices(session, workspace_id)


def listed_prices(session: Session, workspace_id: int) -> list[ListedPrice]:
    """A workspace's prices with the names of the versions that they are for, in the order in which they take effect."""
    found = session.prices.list(workspace_id)
    priced = session.versions.by_ids({price.version_id for price in found if price.version_id})
    names = {version.id: version.reference for version in priced}
    return [ListedPrice.of_version(price, names.get(price.version_id, "")) for price in found]


def _subject(limit: Limit) -> str:
    return f"{limit.scope.value}:{limit.subject}" if limit.subject else limit.scope.value


def _check_subject(session: Session, actor: Actor, scope: Scope, subject: str, *, limits: bool = True) -> None:
    """Raises NotFound for what is not there; what others share may be limited, and is priced by its owner."""
    if scope in {Scope.PLATFORM, Scope.WORKSPACE}:
        if subject:
            raise InvalidRequest(f"A limit on the {scope.value} names nobody; leave {subject[:60]!r} out.")
        if scope is Scope.PLATFORM and actor.workspace_id != DEFAULT_WORKSPACE_ID:
            raise PermissionDenied("Only administrators of the platform limit all of it; limit your workspace instead.")
        return
    if scope is Scope.PRINCIPAL:
        found = session.principals.find(actor.workspace_id, subject)
        if found is None or (found.workspace_id != actor.workspace_id and session.memberships.get(actor.workspace_id, found.id) is None):
            raise NotFound(f"There is no member {subject[:60]!r} to limit; 'modelyard members list' shows them.")
        return
    if scope is Scope.SHARE:
        subject, _, borrower = subject.partition("/")
        if workspace_named(session, borrower).id == actor.workspace_id:
            raise InvalidRequest(f"{borrower!r} is this workspace; limit the deployment itself, or a key or a member.")
        known = [deployment.name for deployment in session.deployments.list(actor.workspace_id)]
    elif scope is Scope.KEY:
        known = [key.public_id for key in session.keys.list(actor.workspace_id)] if subject else []
    else:
        known = [deployment.name for deployment in session.deployments.list(actor.workspace_id)]
        known += [share.name for share in session.shares.received(actor.workspace_id)] if limits else []
    if subject not in known:
        what = Scope.DEPLOYMENT if scope is Scope.SHARE else scope
        raise NotFound(f"There is no {what.value} {subject[:60]!r} to limit or price.{did_you_mean(subject, known)}")


def _check_currency(session: Session, workspace_id: int, currency: str, *, everywhere: bool = False) -> None:
    """A workspace counts in one currency, as do those it shares with, and a limit on all of them needs the same one: no rate of exchange
    is ever guessed.
    """
    if not currency:
        return
    check_quantity(msgspec.structs.replace(_MONEY, currency=currency))
    used = {price.currency for price in session.prices.all()} if everywhere else set()
    used |= currencies_with_borrowers(session, workspace_id)
    if used - {currency}:
        raise Conflict(f"This workspace counts in {', '.join(sorted(used))}; use that instead of {currency}.")


def _version(session: Session, workspace_id: int, reference: str) -> Version:
    model, _, number = reference.partition("@")
    found = session.versions.get(workspace_id, model, int(number)) if number.isdecimal() and len(number) < 10 else None
    if found is None:
        raise NotFound(f"There is no version {reference[:80]!r}; name it like penguins@1.")
    return found
