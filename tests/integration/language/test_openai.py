"""The official client, as it is, against a real model on a real socket."""

from __future__ import annotations

import asyncio
import json
import time

import openai
import pydantic
import pytest

from integration.language.live_language import KEY, LiveLanguage
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.testing.language_model import RepeatingModel

USER = [{"role": "user", "content": "Say something."}]


class Answer(pydantic.BaseModel):
    colour: str = pydantic.Field(pattern="^(red|green)$")
    sure: bool


def last_record(live, kind=CallKind.GENERATE):
    time.sleep(0.05)
    return [record for record in live.records() if record.kind is kind][-1]


def test_models_are_deployments(client):
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "modelyard"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_a_chat_is_answered_and_recorded(live, client):
    answer = client.chat.completions.create(model="demo", messages=USER, max_tokens=8, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 8
    record = last_record(live)
    assert (record.protocol, record.version_id, record.status) == (ProtocolId.OPENAI, 3, 200)
    assert (record.tokens_in, record.tokens_out) == (answer.usage.prompt_tokens, 8)


def test_what_was_computed_before_is_told_and_recorded_as_cached(live, client):
    long = [{"role": "user", "content": "the same words again and again " * 8}]
    client.chat.completions.create(model="demo", messages=long, max_tokens=1)
    answer = client.chat.completions.create(model="demo", messages=long, max_tokens=1)
    cached = answer.usage.prompt_tokens_details.cached_tokens
    assert 0 < cached < answer.usage.prompt_tokens
    assert last_record(live).tokens_cached == cached


def test_a_stream_says_the_same_and_what_it_used(live, client):
    asked = {"model": "demo", "messages": USER, "max_tokens": 8, "seed": 5, "temperature": 0.8, "top_p": 0.9}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert last_record(live).tokens_out == 8


def test_the_clients_own_streaming_helper_works(client):
    with client.chat.completions.stream(model="demo", messages=USER, response_format=Answer, max_tokens=60, seed=1) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.parsed.colour in {"red", "green"}


def test_choices_stops_and_log_probabilities(client):
    answer = client.chat.completions.create(model="demo", messages=USER, n=3, max_tokens=5, seed=1, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    told = answer.choices[0].logprobs.content
    assert len(told) == 5
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in told)
    text = answer.choices[0].message.content
    stop = text[2:4]
    cut = client.chat.completions.create(model="demo", messages=USER, max_tokens=5, seed=1, stop=[stop])
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_an_answer_has_the_form_that_is_asked_for(client):
    for seed in range(3):
        parsed = client.beta.chat.completions.parse(
            model="demo", messages=USER, response_format=Answer, seed=seed, temperature=1.5, max_tokens=60
        )
        assert parsed.choices[0].message.parsed.colour in {"red", "green"}
        assert parsed.choices[0].finish_reason == "stop"


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"enum": ["Oslo", "Rome"]}},
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}


def test_a_function_is_called_when_it_must_be(client):
    asked = {"model": "demo", "messages": USER, "tools": [TOOL], "tool_choice": "required", "max_tokens": 60, "seed": 3}
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.tool_calls[0].function.name == "weather"
    assert json.loads(whole.message.tool_calls[0].function.arguments)["place"] in {"Oslo", "Rome"}
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    called = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
    assert called[0].function.arguments == whole.message.tool_calls[0].function.arguments
    assert chunks[-1].finish_reason == "tool_calls"
    again = [*USER, whole.message.model_dump(), {"role": "tool", "tool_call_id": whole.message.tool_calls[0].id, "content": "Rain."}]
    assert client.chat.completions.create(model="demo", messages=again, tools=[TOOL], max_tokens=2).choices[0].message.content


def test_of_many_functions_some_may_be_allowed(client):
    other = {"type": "function", "function": {"name": "other", "parameters": TOOL["function"]["parameters"]}}
    named = {"type": "function", "function": {"name": "weather"}}
    asked = {"messages": USER, "tools": [other, TOOL], "max_tokens": 60}
    for seed in range(3):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
        answer = client.chat.completions.create(model="demo", **asked, tool_choice=choice, seed=seed)
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    flat = [{"type": "function", **one["function"]} for one in (other, TOOL)]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    answer = client.responses.create(model="demo", input="Go.", tools=flat, tool_choice=choice, max_output_tokens=60)
    assert answer.output[0].name == "other"
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "nothing"}]}
    with pytest.raises(openai.BadRequestError, match="'nothing', which is not among the tools"):
        client.responses.create(model="demo", input="Go.", tools=flat, tool_choice=choice)


def test_completions_continue_prompts(client):
    answer = client.completions.create(model="demo", prompt=["one two", "three"], max_tokens=4, temperature=0, logprobs=1, echo=False)
    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.tokens) == 4
    assert answer.usage.completion_tokens == 8
    streamed = client.completions.create(model="demo", prompt="one two", max_tokens=4, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text


def test_responses_whole_and_streamed(client):
    whole = client.responses.create(model="demo", input="Say something.", instructions="Be brief.", temperature=0, max_output_tokens=6)
    assert whole.status == "incomplete"
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.usage.output_tokens == 6
    with client.responses.stream(
        model="demo", input="Say something.", instructions="Be brief.", temperature=0, max_output_tokens=6
    ) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert "response.output_text.delta" in kinds
    assert kinds[-1] in {"response.completed", "response.incomplete"}
    called = client.responses.create(
        model="demo", input="Say something.", tools=[{**TOOL["function"], "type": "function"}], tool_choice="required", max_output_tokens=60
    )
    assert called.output[0].type == "function_call"


def test_the_asynchronous_client_streams_many_at_once(live):
    async def main():
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key=KEY) as client:

            async def one(seed):
                stream = await client.chat.completions.create(model="demo", messages=USER, stream=True, max_tokens=10, seed=seed)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

            return await asyncio.gather(*(one(seed) for seed in range(8)))

    texts = asyncio.run(main())
    assert len(set(texts)) > 1


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"messages": []}, openai.BadRequestError, "no messages"),
        ({"messages": USER, "temperature": 9}, openai.BadRequestError, "temperature is 9"),
        ({"messages": USER, "n": 0}, openai.BadRequestError, "n is 0"),
        ({"messages": [{"role": "user", "content": "long " * 600}]}, openai.BadRequestError, "context holds 256"),
        ({"messages": USER, "model": "demo@9"}, openai.NotFoundError, "serves no version '9'"),
        ({"messages": USER, "model": "other"}, openai.NotFoundError, "no deployment 'other'"),
        ({"messages": USER, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}},
         openai.BadRequestError, "JSON schema cannot be used"),
        ({"messages": USER, "max_tokens": 0}, openai.BadRequestError, "max_tokens is 0"),
        ({"messages": USER, "modalities": ["text", "audio"]}, openai.BadRequestError, "answers are text only"),
        ({"messages": USER, "functions": [{"name": "weather"}]}, openai.BadRequestError, "send tools"),
        ({"messages": USER, "tool_choice": "required"}, openai.BadRequestError, "there are no tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         openai.BadRequestError, "reads text only"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(client, asked, kind, said):
    with pytest.raises(kind, match=said) as caught:
        client.chat.completions.create(**{"model": "demo", **asked})
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
    assert caught.value.response.headers["x-request-id"]


def test_an_answer_of_no_tokens_is_not_the_prompt(client):
    with pytest.raises(openai.BadRequestError, match="max_output_tokens is 0"):
        client.responses.create(model="demo", input="Say something.", max_output_tokens=0)
    with pytest.raises(openai.BadRequestError, match="max_tokens is 0"):
        client.completions.create(model="demo", prompt="one two", max_tokens=0)


@pytest.mark.parametrize("asked", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"background": True}])
def test_what_would_have_to_be_kept_is_refused(client, asked):
    with pytest.raises(openai.BadRequestError, match="nothing is kept between calls"):
        client.responses.create(model="demo", input="Say something.", **asked)


def test_what_is_null_is_as_if_it_were_not_said(live):
    none = dict.fromkeys(
        ("stream", "stream_options", "n", "stop", "seed", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
    )
    chat = none | dict.fromkeys(("logprobs", "top_logprobs", "tools", "tool_choice", "functions", "response_format", "max_tokens"))
    completion = none | dict.fromkeys(("logprobs", "echo", "suffix", "best_of"))
    response = dict.fromkeys(("stream", "instructions", "temperature", "top_p", "text", "tools", "metadata", "previous_response_id"))
    for path, body in (
        ("chat/completions", {**chat, "messages": USER, "max_completion_tokens": 2}),
        ("completions", {**completion, "prompt": "one two", "max_tokens": 2}),
        ("responses", {**response, "input": "Say something.", "max_output_tokens": 2}),
    ):
        answer = live.client.post(f"/v1/{path}", json={"model": "demo", **body})
        assert answer.status_code == 200, answer.text


def test_a_version_is_named_behind_the_deployment(client):
    assert client.chat.completions.create(model="demo@champion", messages=USER, max_tokens=1).model == "demo@champion"


def test_tokens_are_told_and_turned_back(live):
    told = live.client.post("/tokenize", json={"model": "demo", "prompt": "one two three"}).json()
    assert told["count"] == len(told["tokens"])
    assert live.client.post("/detokenize", json={"model": "demo", "tokens": told["tokens"]}).json() == {"prompt": "one two three"}


def test_the_engine_stops_when_the_client_goes_away(tmp_path):
    model = RepeatingModel(step_s=0.005, context_length=100_000)
    with LiveLanguage(tmp_path, model) as live, openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(model="demo", messages=USER, stream=True)
        for _ in range(5):
            next(stream)
        stream.close()
        until = time.monotonic() + 20
        while live.statistics.generation.running and time.monotonic() < until:
            time.sleep(0.01)
        computed = model.computed
        time.sleep(0.2)
        assert model.computed == computed < 10_000
        record = last_record(live)
        assert record.status == 499
        assert 0 < record.tokens_out <= computed
        with pytest.raises(openai.APITimeoutError):  # without a stream, too
            client.with_options(timeout=0.3).chat.completions.create(model="demo", messages=USER)
        while live.statistics.generation.running and time.monotonic() < until:
            time.sleep(0.01)
        computed = model.computed
        time.sleep(0.2)
        assert model.computed == computed
