import queue

import numpy as np
import pytest

from language import decoder_folder  # noqa: F401  # a fixture
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.runtimes.generative import engine as module
from modelyard.runtimes.generative.decoder import Decoder
from modelyard.runtimes.generative.engine import Engine
from modelyard.runtimes.generative.text import TextCodec


class Counting(Decoder):
    """Takes any number of sequences, always finds token 300 the likeliest, and keeps how many each step had."""

    vocabulary, context_length = 1024, 256

    def __init__(self):
        self.steps = []

    def admit(self, sequence, tokens):
        return 0

    def grow(self, sequence, length):
        return True

    def forward(self, pieces):
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
def answers(decoder, decoder_folder):  # noqa: F811
    engine = Engine(decoder, TextCodec(decoder_folder, 1024))
    items = queue.SimpleQueue()

    def ask(count):
        request = GenerateRequest(token_ids=(301, 302, 303), sampling=Sampling(max_tokens=1, temperature=0, ignore_end=True))
        for _ in range(count):
            engine.generate(request, items.put)
        return [items.get(timeout=30).token_ids for _ in range(count)]

    yield ask
    engine.close()


def test_calls_that_come_together_have_their_prompts_computed_at_once(answers, decoder, monkeypatch):
    monkeypatch.setattr(module, "QUIET_S", 1.0)
    monkeypatch.setattr(module, "MOST_GATHERING_S", 20.0)
    monkeypatch.setattr(module, "GATHERING_SHARE", 1e9)
    answers(1)  # now it knows how long a prompt takes
    assert answers(5) == [(300,)] * 5
    assert decoder.steps == [1, 5]


def test_where_prompts_take_no_time_nobody_is_waited_for(answers, decoder, monkeypatch):
    monkeypatch.setattr(module, "QUIET_S", 60.0)
    monkeypatch.setattr(module, "MOST_GATHERING_S", 60.0)
    monkeypatch.setattr(module, "GATHERING_SHARE", 0.0)
    assert answers(1) == answers(1) == [(300,)]
