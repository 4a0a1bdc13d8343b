"""How long jobs will run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.jobs import Job, JobStatus
from modelyard.jobs.prediction import UNKNOWN_SECONDS, DurationModel, data_bytes


def job(seconds=0.0, *, size=0, model="penguins", kind="train", status=JobStatus.SUCCEEDED, workspace=1):
    spec = {"recipe": {"name": model}, "dataset": {"name": "d", "size": size}}
    return Job(id=1, workspace_id=workspace, kind=kind, spec=spec, status=status, started_ns=10**9, ended_ns=10**9 + int(seconds * 1e9))


def learned(*jobs):
    model = DurationModel()
    for each in jobs:
        model.learn(each)
    return model


def test_nothing_known_is_a_constant():
    assert DurationModel().predict(job()) == UNKNOWN_SECONDS


def test_the_closest_likeness_counts():
    model = learned(job(10), job(12), job(14), job(100, model="whales"), job(1000, kind="optimize"), job(7, kind="optimize", workspace=2))
    assert model.predict(job()) == 12
    assert model.predict(job(model="whales")) == 100
    assert model.predict(job(model="new")) == 13, "all of the workspace's trainings"
    assert model.predict(job(kind="optimize", model="new", workspace=2)) == 7
    assert model.predict(job(model="new", workspace=3)) == 13, "all trainings of anybody"


def test_failures_and_jobs_that_never_started_teach_nothing():
    model = learned(job(5, status=JobStatus.FAILED), job(0))
    assert model.predict(job()) == UNKNOWN_SECONDS


def test_time_follows_the_size_of_the_data_and_strays_do_not_bend_it():
    runs = [job(2 + size / 10, size=size) for size in (10, 20, 40, 80, 160)]
    model = learned(*runs, job(500, size=50))
    assert model.predict(job(size=320)) == pytest.approx(34, rel=0.15)
    assert model.predict(job(size=0)) == pytest.approx(8, rel=0.3), "without a size: the middle of all"


def test_larger_data_never_shortens_a_prediction_below_the_known():
    model = learned(*[job(20 - size, size=size) for size in (1, 2, 3, 4)])
    assert model.predict(job(size=1000)) == pytest.approx(17.5)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0.001, 1e6)), max_size=30), st.integers(0, 10**13))
def test_a_prediction_is_a_time(runs, size):
    model = learned(*[job(seconds, size=data) for data, seconds in runs])
    found = model.predict(job(size=size))
    assert 0 < found < float("inf")


@pytest.mark.parametrize("spec", [{}, {"dataset": "penguins@1"}, {"dataset": {"size": "much"}}])
def test_specs_without_a_size_have_none(spec):
    assert data_bytes(Job(id=1, workspace_id=1, kind="x", spec=spec)) == 0
