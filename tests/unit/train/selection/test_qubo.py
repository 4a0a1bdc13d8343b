import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import Unsupported
from modelyard.train.selection.qubo import anneal, build_qubo, exhaustive, quantum


def small_case(seed, count):
    random = np.random.default_rng(seed)
    half = np.triu(random.random((count, count)), 1)
    return random.random(count), half + half.T


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 9), data=st.data())
def test_annealing_finds_what_trying_everything_finds(seed, count, data):
    relevance, redundancy = small_case(seed, count)
    keep = data.draw(st.integers(1, count - 1))
    qubo = build_qubo(relevance, redundancy, keep, data.draw(st.sampled_from([0.0, 0.3, 1.0])))
    annealed, best = anneal(qubo, seed), exhaustive(qubo)
    assert annealed.sum() == best.sum() == keep
    assert qubo.energy(annealed) == pytest.approx(qubo.energy(best), abs=1e-9)


def test_the_penalty_makes_exactly_so_many_the_best_of_all_choices():
    relevance, redundancy = small_case(3, 7)
    qubo = build_qubo(relevance, redundancy, 3, 1.0)
    every = [np.array([bool(number >> at & 1) for at in range(7)]) for number in range(2**7)]
    assert int(min(every, key=qubo.energy).sum()) == 3


def test_a_copy_of_a_good_column_is_left_for_one_that_tells_something_new():
    relevance = np.array([0.9, 0.89, 0.5, 0.1])
    redundancy = np.zeros((4, 4))
    redundancy[0, 1] = redundancy[1, 0] = 1.0
    assert exhaustive(build_qubo(relevance, redundancy, 2, 1.0)).tolist() == [True, False, True, False]
    assert exhaustive(build_qubo(relevance, redundancy, 2, 0.0)).tolist() == [True, True, False, False]


def test_a_quantum_annealer_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unsupported, match="quantum annealer"):
        quantum(build_qubo(*small_case(0, 3), 1, 1.0), 0)
