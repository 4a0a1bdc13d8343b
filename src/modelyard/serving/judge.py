"""What a rollout's rules say of its candidate now. Nothing here reads or writes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.core.policy import Rollout, Rules
from modelyard.core.rollout import Comparison, Decision, ShadowTally, Step, Tally, Verdict

_ROUNDING = 0.006
"""Percent: what the weights' rounding may make of a step."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a candidate since the deployment's last revision."""

    percent: float
    """Of the calls that go to it now; 0 while it is a shadow only."""
    age_seconds: float
    tally: Tally
    shadow: ShadowTally | None = None
    """Where it is the shadow too."""
    comparisons: Sequence[Comparison] = ()
    metrics: Mapping[str, float] | None = None
    """Its held-out metrics, and those of the other targets."""
    stable_metrics: Sequence[Mapping[str, float]] = ()


def judge(rollout: Rollout, evidence: Evidence) -> Decision:
    """Back at the first broken rule; onwards when all are kept, the calls are enough and the step has lasted."""
    rules = rollout.rules
    tally: Tally = evidence.tally if evidence.percent else evidence.shadow or evidence.tally
    metric = _metric(rules, evidence)
    if metric:
        return Decision(step=Step.ROLL_BACK, reason=metric)
    worse = [comparison.metric for comparison in evidence.comparisons if comparison.verdict is Verdict.WORSE]
    if worse:
        return Decision(step=Step.ROLL_BACK, reason=f"the experiment says that it is worse in {' and '.join(worse)}")
    if tally.calls < rules.min_calls:
        return Decision(step=Step.WAIT, reason=f"{tally.calls} of {rules.min_calls} calls are there")
    broken = next(_broken(rules, tally, evidence.shadow), "")
    if broken:
        return Decision(step=Step.ROLL_BACK, reason=broken)
    if rules.min_agreement is not None and evidence.shadow is not None and not evidence.shadow.rows:
        return Decision(step=Step.WAIT, reason="no row has been compared in shadow yet")
    if evidence.age_seconds < rollout.hold_seconds:
        return Decision(step=Step.WAIT, reason=f"the step has lasted {evidence.age_seconds:.0f} of {rollout.hold_seconds:g} seconds")
    following = next((step for step in rollout.steps if step > evidence.percent + _ROUNDING), None)
    kept = f"every rule is kept over {tally.calls} calls"
    if following is None:
        return Decision(step=Step.PROMOTE, reason=kept, percent=100.0)
    return Decision(step=Step.ADVANCE, reason=kept, percent=following)


def _broken(rules: Rules, tally: Tally, shadow: ShadowTally | None) -> Iterator[str]:
    if rules.max_error_rate is not None and tally.error_rate > rules.max_error_rate:
        yield f"its error rate is {tally.error_rate:.4f} over {tally.calls} calls; at most {rules.max_error_rate:g} is allowed"
    p99 = tally.quantile_ms(0.99)
    if rules.max_p99_ms is not None and p99 > rules.max_p99_ms:
        yield f"99 % of its calls take up to {p99:.3g} ms; at most {rules.max_p99_ms:g} is allowed"
    if rules.min_agreement is not None and shadow is not None and shadow.rows and shadow.agreement < rules.min_agreement:
        yield f"{shadow.agreement:.4f} of {shadow.rows} rows agree in shadow; at least {rules.min_agreement:g} is wanted"


def _metric(rules: Rules, evidence: Evidence) -> str:
    if not rules.metric:
        return ""
    ours = (evidence.metrics or {}).get(rules.metric)
    if ours is None:
        return f"it was stored without the metric {rules.metric!r}"
    best = max((found[rules.metric] for found in evidence.stable_metrics if rules.metric in found), default=ours)
    if ours < best - rules.max_metric_drop:
        return f"its {rules.metric} is {ours:g}; {best - rules.max_metric_drop:g} is wanted"
    return ""
