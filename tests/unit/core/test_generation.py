from __future__ import annotations

import msgspec
import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.core.generation import (
    FinishReason,
    GenerateRequest,
    GenerationUsage,
    Grammar,
    GrammarKind,
    Sampling,
    TokenChunk,
    TokenLogprob,
)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (GenerateRequest(), "one prompt"),
        (GenerateRequest(prompt="a", token_ids=(1,)), "one prompt"),
        (GenerateRequest(prompt="a", n=0), "n is 0"),
        (GenerateRequest(prompt="a", n=1000), "n is 1000"),
        (GenerateRequest(prompt="a", logprobs=21), "21 log probabilities"),
        (GenerateRequest(prompt="a", sampling=Sampling(temperature=-0.1)), "temperature is -0.1"),
        (GenerateRequest(prompt="a", sampling=Sampling(top_p=0.0)), "top_p is 0"),
        (GenerateRequest(prompt="a", sampling=Sampling(repetition_penalty=0.0)), "repetition_penalty is 0"),
        (GenerateRequest(prompt="a", sampling=Sampling(stop=("x",) * 17)), "17 stop texts"),
        (GenerateRequest(prompt="a", sampling=Sampling(stop=("",))), "stop text is empty"),
        (GenerateRequest(prompt="a", sampling=Sampling(temperature=float("nan"))), "temperature is nan"),
    ],
)
def test_a_request_that_means_nothing_is_refused_in_one_sentence(request_: GenerateRequest, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        request_.check()


def test_an_empty_text_is_a_prompt() -> None:
    GenerateRequest(prompt="", sampling=Sampling(temperature=0.0, top_p=1.0, seed=-1)).check()


def test_requests_and_chunks_survive_the_way_between_processes() -> None:
    request = GenerateRequest(
        messages=({"role": "user", "content": "hello"},),
        sampling=Sampling(max_tokens=3, stop=("\n",)),
        grammar=Grammar(GrammarKind.JSON_SCHEMA, '{"type": "object"}'),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=GenerateRequest) == request
    likeliest = TokenLogprob(3, "a", b"a", -0.5)
    chunk = TokenChunk(
        text="a",
        token_ids=(3,),
        logprobs=(TokenLogprob(3, "a", b"a", -0.5, (likeliest,)),),
        finish=FinishReason.STOP,
        last=True,
        usage=GenerationUsage(tokens_in=4, tokens_out=1),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(chunk), type=TokenChunk) == chunk
