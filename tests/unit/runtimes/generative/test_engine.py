import queue
import re
import threading

import numpy as np
import pytest

from language import decoder_folder  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.runtimes.generative import engine as module
from modelyard.runtimes.generative.decoder import Decoder
from modelyard.runtimes.generative.engine import Engine
from modelyard.runtimes.generative.text import TextCodec


class Counting(Decoder):
    """Takes any number of sequences, always finds token 300 the likeliest, and keeps how many each step had. Waits until it may go."""

    vocabulary, context_length = 1024, 256

    def __init__(self):
        self.steps = []
        self.go = threading.Event()
        self.go.set()

    def admit(self, sequence, tokens):
        return 0

    def grow(self, sequence, length):
        return True

    def forward(self, pieces):
        assert self.go.wait(30)
        self.steps.append(len(pieces))
        logits = np.zeros((len(pieces), self.vocabulary), np.float32)
        logits[:, 300] = 1
        return logits

    def release(self, sequence):
        pass

    def close(self):
        pass


@pytest.fixture
def decoder():
    return Counting()


@pytest.fixture
def engine(decoder, decoder_folder):  # noqa: F811
    made = Engine(decoder, TextCodec(decoder_folder, 1024))
    yield made
    made.close()


@pytest.fixture
def answers(engine, decoder):
    items = queue.SimpleQueue()

    def ask(count):
        request = GenerateRequest(token_ids=(301, 302, 303), sampling=Sampling(max_tokens=1, temperature=0, ignore_end=True))
        decoder.go.clear()  # or the first may be answered before the last has come
        for _ in range(count):
            engine.generate(request, items.put)
        decoder.go.set()
        return [items.get(timeout=30).token_ids for _ in range(count)]

    return ask


def test_calls_that_come_together_have_their_prompts_computed_at_once(answers, decoder, monkeypatch):
    monkeypatch.setattr(module, "QUIET_S", 1.0)
    monkeypatch.setattr(module, "MOST_GATHERING_S", 20.0)
    monkeypatch.setattr(module, "GATHERING_SHARE", 1e9)
    answers(2)  # now it knows how long a prompt takes, and that calls come together
    decoder.steps.clear()
    assert answers(5) == [(300,)] * 5
    assert decoder.steps == [5]


def test_a_call_that_was_alone_lately_waits_for_nobody(answers, decoder, monkeypatch):
    for name, value in (("QUIET_S", 60.0), ("MOST_GATHERING_S", 60.0), ("GATHERING_SHARE", 1e9)):
        monkeypatch.setattr(module, name, value)
    assert answers(1) == answers(1) == answers(1) == [(300,)]


def test_where_prompts_take_no_time_nobody_is_waited_for(answers, decoder, monkeypatch):
    monkeypatch.setattr(module, "QUIET_S", 60.0)
    monkeypatch.setattr(module, "MOST_GATHERING_S", 60.0)
    monkeypatch.setattr(module, "GATHERING_SHARE", 0.0)
    assert answers(1) == answers(1) == [(300,)]


def test_what_a_step_gave_is_told_before_the_next_one_begins(engine, decoder):
    events, ended = [], queue.SimpleQueue()
    engine.stepped = lambda: events.append("told")
    plain = decoder.forward

    def forward(pieces):
        events.append("computes")
        return plain(pieces)

    def emit(chunk):
        events.append("given")
        if chunk.last:
            ended.put(chunk)

    decoder.forward = forward
    engine.generate(GenerateRequest(token_ids=(301, 302), sampling=Sampling(max_tokens=3, temperature=0, ignore_end=True)), emit)
    assert ended.get(timeout=30).finish is not None
    engine.close()
    steps = "".join(event[0] for event in events)
    assert re.sub("t+", "t", steps).lstrip("t") == "cgtcgtcgt"


def test_a_refusal_is_told_as_well(engine):
    told, given = queue.SimpleQueue(), []
    engine.stepped = lambda: told.put(list(given))
    engine.generate(GenerateRequest(token_ids=tuple(range(300, 600))), given.append)  # more than the context holds
    while not (seen := told.get(timeout=30)):
        pass
    assert isinstance(seen[0], InvalidRequest)
