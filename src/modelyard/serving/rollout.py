"""Rollouts as the controller sees them: what workers counted and users reported, what the rules say, and doing it.

A decision is carried out through the services that people use, so it has their checks and audit rows, and one of its own with the
figures it was made from. It names the revision it was made for: whoever changes the deployment meanwhile wins.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import Clock
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.events import Actor
from modelyard.core.models import Reference, Version
from modelyard.core.policy import Policy, named_by, target_of
from modelyard.core.rollout import (
    Comparison,
    Decision,
    Outcomes,
    PastDecision,
    RolloutView,
    ShadowStanding,
    Step,
    Tally,
    Told,
    VersionStanding,
)
from modelyard.registry.resolve import find_version
from modelyard.registry.service import Registry
from modelyard.serving.deployments import DeploymentService, need, needed
from modelyard.serving.experiment import Side, compare, joined
from modelyard.serving.judge import Evidence, judge
from modelyard.serving.tallies import merged
from modelyard.store.database import Session, Store

logger = logging.getLogger(__name__)
ACTOR = "rollout"
WHOLE = 10_000
"""Weights of a step add up to this."""
_HISTORY = 20
_LOOKED_THROUGH = 2000


@dataclass(frozen=True)
class _Found:
    """A deployment with everything that its versions are judged by."""

    deployment: Deployment
    policy: Policy
    versions: dict[str, Version]
    """As the deployment names them."""
    told: Told
    outcomes: dict[int, Outcomes]

    def share(self, name: str) -> float:
        total = sum(target.weight for target in self.deployment.targets)
        return sum(target.weight for target in self.deployment.targets if named_by(target) == name) / total

    def tally(self, name: str) -> Tally:
        return self.told.versions.get(self.versions[name].id, Tally())

    def side(self, name: str) -> Side:
        return Side(self.share(name), self.tally(name), self.outcomes.get(self.versions[name].id, Outcomes()))

    @property
    def names(self) -> list[str]:
        return [named_by(target) for target in self.deployment.targets if named_by(target) in self.versions]


class RolloutService:
    """Watches rollouts of every workspace. ``run`` is the folder of workers' files."""

    def __init__(self, store: Store, deployments: DeploymentService, registry: Registry, run: Path, clock: Clock) -> None:
        self._store, self._deployments, self._registry, self._run, self._clock = store, deployments, registry, run, clock

    def status(self, workspace_id: int, name: str) -> RolloutView:
        """Where a deployment's versions stand. Raises NotFound."""
        with self._store.read() as session:
            found = self._find(session, need(session, workspace_id, name))
            history = _history(session, workspace_id, name)
        decision, comparisons = self._judged(found)
        return RolloutView(
            deployment=name,
            revision=found.deployment.revision,
            since_ns=found.deployment.updated_ns,
            candidate=_candidate(found.policy),
            decision=decision,
            versions=tuple(_standing(found, named) for named in found.names),
            shadow=_shadow(found),
            comparisons=comparisons,
            history=history,
        )

    def step(self) -> None:
        """Looks at every rollout once, and does what its rules say."""
        with self._store.read() as session:
            wanted = [deployment for deployment in session.deployments.all() if deployment.policy.get("rollout")]
            all_found = [self._find(session, deployment) for deployment in wanted]
        for found in all_found:
            decision, _ = self._judged(found)
            if decision.step in {Step.ADVANCE, Step.PROMOTE, Step.ROLL_BACK}:
                try:
                    self._carry_out(found, decision, Actor(name=ACTOR, workspace_id=found.deployment.workspace_id))
                except ModelyardError as error:  # somebody was faster, or the database is away: the next look sees
                    logger.warning("Rollout of %s: %s", found.deployment.name, error.message)

    def decide(self, actor: Actor, name: str, step: Step) -> RolloutView:
        """Promotes a rollout's candidate, or takes it back, because ``actor`` says so; where the deployment stands then.

        Raises NotFound, and InvalidRequest for a deployment that declares no rollout and for a step that is none of these two.
        """
        if step not in {Step.PROMOTE, Step.ROLL_BACK}:
            raise InvalidRequest(f"A person may {Step.PROMOTE} or {Step.ROLL_BACK}; {step} happens by itself.")
        with self._store.read() as session:
            found = self._find(session, need(session, actor.workspace_id, name))
        if found.policy.rollout is None:
            raise InvalidRequest(f"Deployment {name!r} declares no rollout; there is nothing to decide.")
        percent = 100.0 if step is Step.PROMOTE else 0.0
        self._carry_out(found, Decision(step=step, reason=f"{actor.name} asked for it", percent=percent), actor)
        return self.status(actor.workspace_id, name)

    def _find(self, session: Session, deployment: Deployment) -> _Found:
        policy = Policy.of(deployment.policy)
        versions = {}
        for target in needed(deployment):
            try:
                versions[named_by(target)] = find_version(session, deployment.workspace_id, Reference(target.model, target.version))
            except ModelyardError:  # its alias or model is gone: the deployment's own state tells
                continue
        told = merged(self._run, deployment.id, deployment.revision)
        return _Found(deployment, policy, versions, told, session.feedback.outcomes(deployment.id, deployment.updated_ns))

    def _judged(self, found: _Found) -> tuple[Decision, tuple[Comparison, ...]]:
        comparisons = _comparisons(found)
        rollout = found.policy.rollout
        if rollout is None:
            return Decision(step=Step.NONE, reason="the policy declares no rollout"), comparisons
        candidate = found.versions.get(rollout.candidate)
        if candidate is None:
            return Decision(step=Step.WAIT, reason=f"{rollout.candidate} is gone"), comparisons
        shadow = found.policy.shadow
        evidence = Evidence(
            percent=100 * found.share(rollout.candidate),
            age_seconds=(self._clock.time_ns() - found.deployment.updated_ns) / 1e9,
            tally=found.tally(rollout.candidate),
            shadow=found.told.shadow if shadow is not None and shadow.version == rollout.candidate else None,
            comparisons=comparisons,
            metrics=candidate.metrics,
            stable_metrics=[version.metrics for name, version in found.versions.items() if name != rollout.candidate],
        )
        return judge(rollout, evidence), comparisons

    def _carry_out(self, found: _Found, decision: Decision, actor: Actor) -> None:
        deployment, rollout = found.deployment, found.policy.rollout
        if rollout is None:
            return
        candidate = target_of(rollout.candidate)
        if decision.step is Step.PROMOTE and rollout.alias:
            self._registry.set_alias(actor, Reference(candidate.model, candidate.version), rollout.alias)
            candidate = msgspec.structs.replace(candidate, version=rollout.alias)
        targets, policy = wished(deployment, decision, candidate)
        # Whoever declared the rollout has accepted its candidate.
        self._deployments.deploy(actor, deployment.name, targets, policy=policy, expect_revision=deployment.revision, accept_flagged=True)
        with self._store.write() as session:
            figures = msgspec.to_builtins([_standing(found, name) for name in found.names])
            after = {"reason": decision.reason, "candidate": rollout.candidate, "percent": decision.percent, "figures": figures}
            session.audit.append(actor, f"rollout.{decision.step}", deployment.name, after=after)
        logger.info("Rollout of %s: %s, because %s", deployment.name, decision.step, decision.reason)


def wished(deployment: Deployment, decision: Decision, candidate: Target) -> tuple[list[Target], dict[str, Any]]:
    """Targets and policy after a decision; ``candidate`` is what the promoted version is called by."""
    rollout = Policy.of(deployment.policy).rollout
    if rollout is None:
        raise InvalidRequest(f"Deployment {deployment.name!r} declares no rollout.")
    others = [target for target in deployment.targets if named_by(target) != rollout.candidate]
    ended = {name: part for name, part in deployment.policy.items() if name not in {"rollout", "experiment", "shadow"}}
    if decision.step is Step.ROLL_BACK:
        return others, ended
    if decision.step is Step.PROMOTE:
        return [msgspec.structs.replace(candidate, weight=100)], ended
    ours = max(1, round(WHOLE * decision.percent / 100))
    total = sum(target.weight for target in others)
    weights = [max(1, round((WHOLE - ours) * target.weight / total)) for target in others]
    weights[-1] = max(1, weights[-1] + WHOLE - ours - sum(weights))
    rest = [msgspec.structs.replace(target, weight=weight) for target, weight in zip(others, weights, strict=True)]
    policy = dict(deployment.policy)
    if policy.get("shadow", {}).get("version") == rollout.candidate:
        # It answers callers now. What it was to show in shadow it has shown.
        del policy["shadow"]
        policy["rollout"] = {**policy["rollout"], "rules": {**policy["rollout"].get("rules", {})}}
        policy["rollout"]["rules"].pop("min_agreement", None)
    return [*rest, msgspec.structs.replace(candidate, weight=ours)], policy


def _candidate(policy: Policy) -> str:
    part = policy.rollout or policy.experiment
    return part.candidate if part is not None else ""


def _comparisons(found: _Found) -> tuple[Comparison, ...]:
    experiment = found.policy.experiment
    if experiment is None or experiment.candidate not in found.versions:
        return ()
    others = joined(found.side(name) for name in found.names if name != experiment.candidate)
    return compare(experiment, others, found.side(experiment.candidate), sticky=found.policy.sticky is not None)


def _standing(found: _Found, name: str) -> VersionStanding:
    side = found.side(name)
    tally, outcomes = side.tally, side.outcomes
    return VersionStanding(
        version=name,
        share=side.share,
        calls=tally.calls,
        errors=tally.errors,
        error_rate=tally.error_rate,
        p50_ms=tally.quantile_ms(0.5),
        p99_ms=tally.quantile_ms(0.99),
        outcomes=outcomes.count,
        mean_outcome=outcomes.sum / outcomes.count if outcomes.count else None,
    )


def _shadow(found: _Found) -> ShadowStanding | None:
    shadow = found.policy.shadow
    if shadow is None:
        return None
    tally = found.told.shadow
    return ShadowStanding(
        version=shadow.version,
        calls=tally.calls,
        errors=tally.errors,
        error_rate=tally.error_rate,
        p50_ms=tally.quantile_ms(0.5),
        p99_ms=tally.quantile_ms(0.99),
        dropped=tally.dropped,
        rows=tally.rows,
        agreement=tally.agreement,
        worst_difference=tally.worst,
    )


def _history(session: Session, workspace_id: int, name: str) -> tuple[PastDecision, ...]:
    events = session.audit.list(workspace_id, limit=_LOOKED_THROUGH)
    own: Sequence[Any] = [event for event in events if event.subject == name and event.action.startswith("rollout.")][:_HISTORY]
    return tuple(
        PastDecision(time_ns=event.time_ns, action=event.action, actor=event.actor, reason=str(event.after.get("reason", "")))
        for event in own
    )
