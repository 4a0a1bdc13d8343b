from __future__ import annotations

import numpy as np
import pytest

from modelyard.core.generation import Sampling
from modelyard.runtimes.generative.sampling import Chooser, Defaults, choose_all
from modelyard.runtimes.generative.stops import StopFinder


def chooser(sampling: Sampling, logprobs: int | None = None, prompt: tuple[int, ...] = ()) -> Chooser:
    made = Chooser(sampling, Defaults(), prompt, 0, frozenset({0}))
    made.logprobs = logprobs
    return made


def drawn(sampling: Sampling, row: list[float], count: int = 400) -> set[int]:
    one = chooser(sampling)
    return {choose_all([one], np.array([row], dtype=np.float32))[0].token for _ in range(count)}


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [
        (Sampling(temperature=0.0), {2}),
        (Sampling(seed=1), {1, 2, 3}),
        (Sampling(seed=1, top_k=2), {1, 2}),
        (Sampling(seed=1, top_k=1), {2}),
        (Sampling(seed=1, top_p=0.5), {2}),
        (Sampling(seed=1, top_p=0.8), {1, 2}),
        (Sampling(seed=1, min_p=0.2), {1, 2}),
    ],
)
def test_cut_offs_leave_the_likeliest(sampling: Sampling, tokens: set[int]) -> None:
    logs = [float(np.log(share)) if share else -40.0 for share in (0.0, 0.25, 0.65, 0.1)]
    assert drawn(sampling, logs) == tokens


def test_equal_seeds_choose_alike_and_others_do_not() -> None:
    row = np.zeros((1, 1000), dtype=np.float32)

    def ten(seed: int) -> list[int]:
        one = chooser(Sampling(seed=seed))
        return [choose_all([one], row.copy())[0].token for _ in range(10)]

    assert ten(3) == ten(3) != ten(4)


def test_penalties_push_down_what_was_said() -> None:
    one = chooser(Sampling(temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5))
    row = [[0.0, 2.0, 1.8, 0.0]]
    one.took(1)
    assert choose_all([one], np.array(row, dtype=np.float32))[0].token == 2
    again = chooser(Sampling(temperature=0.0, repetition_penalty=2.0), prompt=(1,))
    assert choose_all([again], np.array(row, dtype=np.float32))[0].token == 2


def test_an_end_is_not_chosen_while_tokens_are_wanted() -> None:
    one = chooser(Sampling(temperature=0.0, min_tokens=1))
    row = [[5.0, 1.0, 0.0]]
    assert choose_all([one], np.array(row, dtype=np.float32))[0].token == 1
    one.took(1)
    assert choose_all([one], np.array(row, dtype=np.float32))[0].token == 0


def test_log_probabilities_are_of_what_the_model_said() -> None:
    one = chooser(Sampling(temperature=0.0, presence_penalty=2.0), logprobs=2)
    one.took(2)
    shares = np.array([0.1, 0.3, 0.6])
    (chosen,) = choose_all([one], np.log(shares)[np.newaxis].astype(np.float32))
    assert chosen.token == 1
    assert np.exp(chosen.logprob) == pytest.approx(0.3, abs=1e-5)
    assert [token for token, _ in chosen.top] == [2, 1]


def test_a_stop_text_is_found_across_pieces() -> None:
    finder = StopFinder(("END", "ENOUGH"))
    shown = [
        finder.add(piece)
        for piece in (
            "abc E",
            "N",
            "x",
            "EN",
            "D",
        )
    ]
    assert "".join(shown) == "abc ENx"
    assert finder.found == "END"
    other = StopFinder(("END",))
    assert other.add("THE EN") == "THE "
    assert other.rest() == "EN"
