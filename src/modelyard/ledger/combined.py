"""Which versions a deployment combined at a time: those of its graph, or those before and after the target.

A usage record names one version. The rest follows from what the audit log says the deployment's policy was then, and from where
aliases pointed. Workers follow a change within a second, so a call of that second may have been answered the old way.
"""

from __future__ import annotations

from modelyard.core.errors import InvalidRequest
from modelyard.core.graph import versions_of
from modelyard.core.models import Reference
from modelyard.core.policy import Policy
from modelyard.store.database import Session

_WRITTEN = ("deployment.create", "deployment.update")


def combined_versions(session: Session, workspace_id: int, deployment: str, target: str, time_ns: int) -> tuple[str, ...]:
    """Versions as ``model@number``, in the order of the policy; empty for a deployment that combined none. ``target`` is the record's."""
    event = session.audit.last(workspace_id, deployment, _WRITTEN, time_ns)
    written = event.after.get("policy") if event is not None else None
    if not written:
        return ()
    try:
        policy = Policy.of(written)
    except InvalidRequest:  # of a time before policies were checked
        return ()
    if policy.graph is not None:
        named = tuple(dict.fromkeys(versions_of(policy.graph)))
        return tuple(_numbered(session, workspace_id, each, time_ns) for each in named)
    if not policy.steps:
        return ()
    before, after = ([_numbered(session, workspace_id, each, time_ns) for each in steps] for steps in (policy.before, policy.after))
    return (*before, target, *after)


def _numbered(session: Session, workspace_id: int, written: str, time_ns: int) -> str:
    """The version that a policy named, with the number that its alias meant then."""
    reference = Reference.parse(written)
    if reference.number is not None:
        return written
    history = session.aliases.history(workspace_id, reference.name, reference.version)
    number = next((number for number, since_ns in history if since_ns <= time_ns), 0)
    return f"{reference.name}@{number}" if number else written
