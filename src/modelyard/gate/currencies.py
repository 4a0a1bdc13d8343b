"""In which currency workspaces count: one each, and the same for all that share deployments, because no rate of exchange is guessed."""

from __future__ import annotations

from modelyard.store.database import Session


def currencies_of(session: Session, workspace_id: int) -> set[str]:
    """What a workspace's bills and budgets count in: its own prices and limits, and the prices of what is, or was, shared with it."""
    used = {limit.currency for limit in [*session.limits.list(workspace_id), *session.limits.platform()] if limit.currency}
    # Of shares that have ended too: their calls are on bills.
    owners = {share.workspace_id for share in session.shares.ever_received(workspace_id)}
    return used.union(*(prices_in(session, identity) for identity in {workspace_id, *owners}))


def prices_in(session: Session, workspace_id: int) -> set[str]:
    """What a workspace's price list counts in."""
    return {price.currency for price in session.prices.list(workspace_id)}


def currencies_with_borrowers(session: Session, workspace_id: int) -> set[str]:
    """The same, and what those count in that are billed by the workspace's prices."""
    borrowers = {share.borrower_id for share in session.shares.ever_given(workspace_id)}
    return set().union(*(currencies_of(session, identity) for identity in {workspace_id, *borrowers}))
