"""What the official client may ask of sampling, streams and endings, each against what it must change, on a real decoder."""

from __future__ import annotations

import json

import openai
import pydantic
import pytest
from tokenizers import Tokenizer

USER = [{"role": "user", "content": "Say something."}]
ASKED = {"model": "demo", "messages": USER, "temperature": 0}
FIRST, SECOND = 300, 400
"""Two tokens that are all but forced, so that only what is asked decides between them."""


class Answer(pydantic.BaseModel):
    sure: bool


def tokens(choice):
    return [one.token for one in choice.logprobs.content]


def test_biases_and_penalties_change_what_is_chosen(client, decoder_folder):
    tokenizer = Tokenizer.from_file(str(decoder_folder / "tokenizer.json"))
    one = client.chat.completions.create(**ASKED, max_tokens=6, logprobs=True, logit_bias={FIRST: 100}).choices[0]
    assert tokens(one) == [tokenizer.decode([FIRST])] * 6
    asked = ASKED | {"max_tokens": 24, "logprobs": True, "logit_bias": {FIRST: 100, SECOND: 100}}
    alone = tokens(client.chat.completions.create(**asked).choices[0])
    assert tokens(client.chat.completions.create(**asked, presence_penalty=2).choices[0]) != alone
    punished = tokens(client.chat.completions.create(**asked, frequency_penalty=2).choices[0])
    assert max(punished.count(token) for token in punished) < max(alone.count(token) for token in alone)
    with pytest.raises(openai.BadRequestError, match="must lie between -100 and 100"):
        client.chat.completions.create(**ASKED, logit_bias={FIRST: 101})
    with pytest.raises(openai.BadRequestError, match="vocabulary has 1024 tokens"):
        client.chat.completions.create(**ASKED, logit_bias={99999: 1})


def test_seeds_repeat_and_differ(client):
    def text(seed):
        return client.chat.completions.create(**ASKED | {"temperature": 1.4}, max_tokens=12, seed=seed).choices[0].message.content

    assert text(1) == text(1) != text(2)


def test_several_choices_are_streamed_with_stops_and_usage_once(client):
    asked = ASKED | {"temperature": 1.2, "seed": 7, "n": 2, "max_completion_tokens": 8}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    stops = [whole.choices[0].message.content[2:5]]
    cut = client.chat.completions.create(**asked, stop=stops)
    chunks = list(
        client.chat.completions.create(
            **asked, stop=stops, stream=True, stream_options={"include_usage": True}, logprobs=True, top_logprobs=3
        )
    )
    streamed = {0: "", 1: ""}
    ends = {}
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
            ends |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert [streamed[0], streamed[1]] == [choice.message.content for choice in cut.choices]
    assert [ends[0], ends[1]] == [choice.finish_reason for choice in cut.choices]
    assert ends[0] == "stop"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage.completion_tokens == cut.usage.completion_tokens
    assert whole.usage.completion_tokens == 16
    told = [one for chunk in chunks for choice in chunk.choices if choice.logprobs for one in choice.logprobs.content]
    assert all(len(one.top_logprobs) == 3 and one.bytes for one in told)
    found = [
        one.token
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == 1 and choice.logprobs
        for one in choice.logprobs.content
    ]
    assert found == tokens(whole.choices[1])[: len(found)]


def test_any_json_object_and_a_schema_of_the_responses_api(client):
    whole = client.chat.completions.create(**ASKED, response_format={"type": "json_object"}, max_tokens=120, seed=3)
    if whole.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(whole.choices[0].message.content), dict)
    else:
        assert whole.choices[0].message.content.startswith("{")
    parsed = client.responses.parse(model="demo", input="Say something.", text_format=Answer, temperature=1.2, max_output_tokens=60)
    assert isinstance(parsed.output_parsed, Answer)


def test_a_streamed_response_says_what_the_whole_one_says(client):
    asked = {"model": "demo", "input": [{"role": "user", "content": "Say something."}], "temperature": 0, "max_output_tokens": 8}
    with client.responses.stream(**asked) as stream:
        events = list(stream)
    final = events[-1].response
    assert (events[-1].type, final.incomplete_details.reason) == ("response.incomplete", "max_output_tokens")
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == final.output_text == client.responses.create(**asked).output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.usage.output_tokens, final.usage.total_tokens) == (8, final.usage.input_tokens + 8)
    opened = [event.type for event in events if event.type.endswith((".added", ".done"))]
    assert opened == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]


def test_completions_take_choices_stops_echo_and_token_ids(client, live):
    asked = {"model": "demo", "prompt": "one two", "max_tokens": 8, "temperature": 1.3, "seed": 4}
    two = client.completions.create(**asked, n=2, echo=True)
    assert [choice.text.startswith("one two") for choice in two.choices] == [True, True]
    assert two.choices[0].text != two.choices[1].text
    text = client.completions.create(**asked).choices[0].text
    assert two.choices[0].text == f"one two{text}"
    stopped = client.completions.create(**asked, stop=text[2:5]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(text[2:5])], "stop")
    ids = live.client.post("/tokenize", json={"model": "demo", "prompt": "one two"}).json()["tokens"]
    assert client.completions.create(**asked | {"prompt": ids}).choices[0].text == text
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}, logprobs=2))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage.completion_tokens == 8
    assert all(
        len(chunk.choices[0].logprobs.top_logprobs[0]) == 2 for chunk in chunks if chunk.choices and chunk.choices[0].logprobs.tokens
    )


def test_a_key_that_is_none_gets_the_clients_own_error(live):
    with (
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.chat.completions.create(**ASKED)
    assert caught.value.code == "invalid_api_key"
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
