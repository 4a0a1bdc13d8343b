"""What every generative model must do. Subclass ``GenerationContract`` in a test module and give it a ``model`` fixture."""

from __future__ import annotations

import json
import queue
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelyard.core.errors import DeadlineExceeded, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, FinishReason, GenerateRequest, Grammar, GrammarKind, Sampling, TokenChunk
from modelyard.runtimes.base import GenerativeModel

PATIENCE_S = 60.0
PROMPT = "one two three four"
GREEDY = Sampling(max_tokens=12, temperature=0.0)


class Generation:
    """One generation, watched."""

    def __init__(self, model: GenerativeModel, request: GenerateRequest) -> None:
        self._items: queue.SimpleQueue[TokenChunk | ModelyardError] = queue.SimpleQueue()
        request.check()
        self.cancel: Cancel = model.generate(request, self._items.put)

    def next(self) -> TokenChunk:
        """The next chunk; raises the error that came instead."""
        item = self._items.get(timeout=PATIENCE_S)
        if isinstance(item, ModelyardError):
            raise item
        return item

    def rest(self) -> list[TokenChunk]:
        """All chunks to the last; nothing may come after it."""
        found = [self.next()]
        while not found[-1].last:
            found.append(self.next())
        time.sleep(0.02)
        assert self._items.empty()
        return found

    def text(self, choice: int = 0) -> str:
        return "".join(chunk.text for chunk in self.rest() if chunk.choice == choice)


def ids(chunks: list[TokenChunk], choice: int = 0) -> list[int]:
    return [number for chunk in chunks if chunk.choice == choice for number in chunk.token_ids]


class GenerationContract:
    """The contract, as tests."""

    samples = True
    """Whether tokens are drawn by their probability."""
    grammars = True
    """Whether answers can be held to a grammar; else they must be refused."""

    def test_chunks_come_in_order_and_the_last_says_what_was_used(self, model: GenerativeModel) -> None:
        chunks = Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY)).rest()
        assert len(ids(chunks)) == 12
        assert [chunk.finish for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].finish is FinishReason.LENGTH
        assert chunks[-1].usage.tokens_out == 12
        assert chunks[-1].usage.tokens_in >= 4
        assert chunks[-1].usage.compute_us > 0

    def test_the_likeliest_tokens_are_the_same_each_time(self, model: GenerativeModel) -> None:
        request = GenerateRequest(prompt=PROMPT, sampling=GREEDY)
        assert ids(Generation(model, request).rest()) == ids(Generation(model, request).rest())

    def test_many_at_once_get_what_they_get_alone(self, model: GenerativeModel) -> None:
        requests = [GenerateRequest(prompt=f"{PROMPT} {number}", sampling=GREEDY) for number in range(6)]
        alone = [Generation(model, request).text() for request in requests]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda request: Generation(model, request).text(), requests))
        assert together == alone

    def test_no_tokens_gives_the_prompt_as_ids_and_text(self, model: GenerativeModel) -> None:
        nothing = Sampling(max_tokens=0)
        (told,) = Generation(model, GenerateRequest(prompt=PROMPT, sampling=nothing)).rest()
        assert told.usage.tokens_in == len(told.token_ids) > 0
        (again,) = Generation(model, GenerateRequest(token_ids=told.token_ids, sampling=nothing)).rest()
        assert PROMPT in again.text
        assert again.token_ids == told.token_ids

    def test_several_choices_are_told_apart(self, model: GenerativeModel) -> None:
        chunks = Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY, n=3)).rest()
        assert {chunk.choice for chunk in chunks} == {0, 1, 2}
        assert [len(ids(chunks, choice)) for choice in range(3)] == [12, 12, 12]
        assert sum(chunk.finish is not None for chunk in chunks) == 3
        assert chunks[-1].usage.tokens_out == 36

    def test_a_stop_text_ends_a_choice_and_is_not_part_of_it(self, model: GenerativeModel) -> None:
        whole = Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY)).text()
        stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
        sampling = Sampling(max_tokens=12, temperature=0.0, stop=(stop, "\0never"))
        chunks = Generation(model, GenerateRequest(prompt=PROMPT, sampling=sampling)).rest()
        assert "".join(chunk.text for chunk in chunks) == whole[: whole.index(stop)]
        assert (chunks[-1].finish, chunks[-1].stop) == (FinishReason.STOP, stop)

    def test_log_probabilities_come_with_their_tokens(self, model: GenerativeModel) -> None:
        chunks = Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY, logprobs=1)).rest()
        told = [item for chunk in chunks for item in chunk.logprobs]
        assert [item.token_id for item in told] == ids(chunks)
        for item in told:
            assert item.logprob <= 0
            assert len(item.top) == 1
            assert item.top[0].token_id == item.token_id  # the likeliest token was taken
            assert item.top[0].logprob == pytest.approx(item.logprob, abs=1e-3)

    def test_equal_seeds_give_equal_texts_and_others_do_not(self, model: GenerativeModel) -> None:
        if not self.samples:
            pytest.skip("takes the likeliest token whatever it is asked")

        def texts(seed: int) -> list[list[int]]:
            sampling = Sampling(max_tokens=12, temperature=1.5, seed=seed, ignore_end=True)
            chunks = Generation(model, GenerateRequest(prompt=PROMPT, sampling=sampling, n=2)).rest()
            return [ids(chunks, choice) for choice in range(2)]

        first = texts(7)
        assert texts(7) == first
        assert first[0] != first[1]
        assert texts(8)[0] == first[1]  # choice i uses seed + i
        assert texts(9) != first

    def test_a_bias_all_but_forces_a_token_or_forbids_it(self, model: GenerativeModel) -> None:
        if not self.samples:
            pytest.skip("takes the likeliest token whatever it is asked")

        def biased(bias: dict[int, float]) -> list[int]:
            sampling = Sampling(max_tokens=4, temperature=0.0, ignore_end=True, logit_bias=bias)
            return ids(Generation(model, GenerateRequest(prompt=PROMPT, sampling=sampling)).rest())

        first = biased({})[0]
        assert biased({first: -100.0})[0] != first
        other = first - 1 if first else 1
        assert biased({other: 100.0}) == [other] * 4

    def test_an_answer_keeps_to_its_grammar_or_the_call_is_refused(self, model: GenerativeModel) -> None:
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
        grammar = Grammar(GrammarKind.JSON_SCHEMA, json.dumps(schema))
        sampling = Sampling(max_tokens=60, temperature=1.2, seed=3)
        generation = Generation(model, GenerateRequest(prompt=PROMPT, sampling=sampling, grammar=grammar))
        if not self.grammars:
            with pytest.raises(InvalidRequest, match="grammar"):
                generation.rest()
            return
        assert json.loads(generation.text())["a"] in {1, 2}
        broken = Grammar(GrammarKind.JSON_SCHEMA, '{"type": 5}')
        with pytest.raises(InvalidRequest, match="JSON schema"):
            Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY, grammar=broken)).rest()

    def test_messages_are_written_by_the_chat_template(self, model: GenerativeModel) -> None:
        assert model.has_template
        said = ({"role": "user", "content": PROMPT},)
        (told,) = Generation(model, GenerateRequest(messages=said, sampling=Sampling(max_tokens=0))).rest()
        assert PROMPT in told.text
        assert Generation(model, GenerateRequest(messages=said, sampling=GREEDY)).rest()[-1].usage.tokens_in == len(told.token_ids)

    def test_a_cancelled_generation_stops_computing(self, model: GenerativeModel) -> None:
        sampling = Sampling(temperature=0.0, ignore_end=True)
        generation = Generation(model, GenerateRequest(prompt=PROMPT, sampling=sampling))
        generation.next()
        generation.cancel()
        generation.cancel()
        last = generation.rest()[-1]
        assert last.finish is FinishReason.CANCELLED
        assert 1 <= last.usage.tokens_out < model.context_length - 8
        generation.cancel()

    def test_a_deadline_ends_it(self, model: GenerativeModel) -> None:
        late = GenerateRequest(prompt=PROMPT, sampling=Sampling(ignore_end=True), deadline_ns=time.monotonic_ns())
        with pytest.raises(DeadlineExceeded):
            Generation(model, late).rest()

    def test_what_does_not_fit_is_refused_and_the_rest_goes_on(self, model: GenerativeModel) -> None:
        good = Generation(model, GenerateRequest(prompt=PROMPT, sampling=GREEDY))
        with pytest.raises(InvalidRequest, match="token id"):
            Generation(model, GenerateRequest(token_ids=(1 << 30,), sampling=GREEDY)).rest()
        with pytest.raises(InvalidRequest, match="context"):
            Generation(model, GenerateRequest(prompt="word " * (model.context_length + 8), sampling=GREEDY)).rest()
        assert len(ids(good.rest())) == 12

    def test_rows_of_text_are_continued(self, model: GenerativeModel) -> None:
        answers = model.infer({"text_input": np.array(["one two", "three four five"], dtype=object)})["text_output"]
        assert [type(answer) for answer in answers] == [str, str]

    def test_closing_ends_what_runs_and_refuses_what_comes(self, model: GenerativeModel) -> None:
        generation = Generation(model, GenerateRequest(prompt=PROMPT, sampling=Sampling(ignore_end=True)))
        generation.next()
        model.close()
        model.close()
        with pytest.raises(Unavailable):
            generation.rest()
        with pytest.raises(Unavailable):
            Generation(model, GenerateRequest(prompt=PROMPT)).rest()
