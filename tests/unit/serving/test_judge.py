import pytest

from modelyard.core.policy import Rollout, Rules
from modelyard.core.rollout import Comparison, ShadowTally, Step, Tally, Verdict
from modelyard.serving.judge import Evidence, judge


def tally(calls, errors=0, micros=1000.0):
    made = Tally()
    for _ in range(calls - errors):
        made.answered(micros)
    for _ in range(errors):
        made.failed()
    return made


def judged(made, *, steps=(10, 50), percent=10.0, age=100.0, rules=None, **more):
    rollout = Rollout(candidate="m@2", steps=steps, hold_seconds=60, rules=rules or Rules(max_error_rate=0.01, max_p99_ms=5))
    return judge(rollout, Evidence(percent=percent, age_seconds=age, tally=made, **more))


def test_a_candidate_goes_on_step_by_step_and_is_promoted_after_the_last():
    assert (judged(tally(200)).step, judged(tally(200)).percent) == (Step.ADVANCE, 50)
    assert judged(tally(200), percent=9.999).percent == 50
    assert judged(tally(200), percent=50.0).step is Step.PROMOTE
    assert judged(tally(200), steps=(), percent=3.0).step is Step.PROMOTE


def test_it_waits_for_calls_and_for_time():
    assert judged(tally(99)).reason == "99 of 100 calls are there"
    assert "lasted 30 of 60 seconds" in judged(tally(200), age=30).reason
    assert judged(tally(50, 50)).step is Step.WAIT


@pytest.mark.parametrize(
    ("made", "said"),
    [(tally(200, 3), "its error rate is 0.0150 over 200 calls"), (tally(200, micros=9000), "99 % of its calls take up to")],
)
def test_a_broken_rule_takes_it_back_without_waiting(made, said):
    found = judged(made, age=0.0)
    assert found.step is Step.ROLL_BACK
    assert said in found.reason


def test_a_shadow_is_judged_by_its_copies_before_it_gets_calls():
    rules = Rules(min_agreement=0.9)
    shadow = ShadowTally()
    shadow.add(tally(200))
    assert judged(Tally(), percent=0.0, shadow=shadow, rules=rules).reason == "no row has been compared in shadow yet"
    shadow.rows, shadow.agreed = 1000, 950
    assert (judged(Tally(), percent=0.0, shadow=shadow, rules=rules).step, shadow.agreement) == (Step.ADVANCE, 0.95)
    shadow.agreed = 899
    assert "0.8990 of 1000 rows agree" in judged(Tally(), percent=0.0, shadow=shadow, rules=rules).reason


def test_what_an_experiment_says_counts_before_anything_else():
    worse = Comparison(metric="outcome", stable=1, candidate=0, low=-1, high=-0.5, verdict=Verdict.WORSE)
    found = judged(Tally(), comparisons=[worse])
    assert (found.step, found.reason) == (Step.ROLL_BACK, "the experiment says that it is worse in outcome")


def test_a_metric_is_compared_with_the_best_of_the_others():
    rules = Rules(metric="accuracy", max_metric_drop=0.01)
    others = [{"accuracy": 0.9}, {}, {"accuracy": 0.8}]
    assert judged(tally(200), rules=rules, metrics={"accuracy": 0.895}, stable_metrics=others).step is Step.ADVANCE
    assert (
        "its accuracy is 0.88; 0.89 is wanted" in judged(tally(200), rules=rules, metrics={"accuracy": 0.88}, stable_metrics=others).reason
    )
    assert "without the metric 'accuracy'" in judged(tally(200), rules=rules, metrics={}).reason


def test_quantiles_are_told_within_a_bucket():
    made = tally(980, micros=1000)
    made.add(tally(20, micros=50_000))
    assert 1.0 <= made.quantile_ms(0.5) <= 1.1
    assert 50.0 <= made.quantile_ms(0.99) <= 55.0
    assert Tally().quantile_ms(0.5) == 0.0
