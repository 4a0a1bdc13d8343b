"""Functions that a model calls, by the official clients: a model that repeats its prompt says whatever the test has it say."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from integration.language.live_language import KEY, LiveLanguage
from modelyard.testing.language_model import RepeatingModel

NAMES = ("weather", "time")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in NAMES]
FLAT = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in NAMES]
END = "END"


def calling(*names):
    return "".join(f'<tool_call>{{"name":"{name}","arguments":{{"place":"Oslo"}}}}</tool_call>' for name in names)


SPOKEN = f"Let me look. {calling('weather')} {END}"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveLanguage(tmp_path_factory.mktemp("live"), RepeatingModel()) as live:
        yield live


def asked(text, **more):
    return {"model": "demo", "messages": [{"role": "user", "content": text}], "tools": TOOLS, "stop": [END], **more}


@pytest.mark.parametrize(
    ("text", "content", "called"),
    [
        (SPOKEN, "Let me look. ", ["weather"]),
        (f"{calling('weather', 'time')} {END}", None, ["weather", "time"]),
        (f'{{"name":"time","arguments":{{}}}} {END}', None, ["time"]),
        (f'[TOOL_CALLS] [{{"name":"time","arguments":{{}}}}] {END}', None, ["time"]),
        (f'{{"name":"nothing"}} {END}', '{"name":"nothing"} ', []),
        (f"{calling('nothing')} {END}", f"{calling('nothing')} ", []),
        (f"a < b <tool {END}", "a < b <tool ", []),
    ],
)
def test_what_is_said_and_what_is_called_are_told_apart(client, text, content, called):
    whole = client.chat.completions.create(**asked(text)).choices[0]
    assert whole.message.content == content
    assert [call.function.name for call in whole.message.tool_calls or ()] == called
    assert whole.finish_reason == ("tool_calls" if called else "stop")
    with client.chat.completions.stream(**asked(text)) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert (final.message.content or None, final.finish_reason) == (content, whole.finish_reason)
    assert [call.function.name for call in final.message.tool_calls or ()] == called
    if called:
        assert not [event for event in events if event.type == "content.delta" and "<" in event.delta]
        assert all(json.loads(call.function.arguments) in ({}, {"place": "Oslo"}) for call in final.message.tool_calls)


def test_text_is_shown_as_it_comes_although_a_call_may_follow(client):
    stream = client.chat.completions.create(**asked("one two three four END"), stream=True, logprobs=True)
    chunks = [chunk.choices[0] for chunk in stream]
    said = [chunk.delta.content for chunk in chunks if chunk.delta.content]
    assert said[:3] == ["one", " two", " three"]
    assert [one.token for chunk in chunks if chunk.logprobs for one in chunk.logprobs.content][:3] == said[:3]


def test_functions_that_must_not_be_called_are_text(client):
    choice = client.chat.completions.create(**asked(SPOKEN, tool_choice="none")).choices[0]
    assert (choice.message.content, choice.message.tool_calls) == (SPOKEN.removesuffix(END), None)
    with pytest.raises(openai.BadRequestError, match="names the function 'moon'"):
        client.chat.completions.create(**asked("x", tool_choice={"type": "function", "function": {"name": "moon"}}))


def test_responses_give_text_and_calls_as_items(client):
    sent = {"model": "demo", "input": SPOKEN.removesuffix(f" {END}"), "tools": FLAT, "max_output_tokens": 4}
    with client.responses.stream(**sent) as stream:
        events = list(stream)
    final = events[-1].response
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert (final.output_text, final.output[1].name, json.loads(final.output[1].arguments)) == (
        "Let me look. ",
        "weather",
        {"place": "Oslo"},
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = [event.output_index for event in events if event.type == "response.function_call_arguments.done"]
    assert told == [1]
    whole = client.responses.create(**sent)
    assert [item.type for item in whole.output] == ["message", "function_call"]


def test_messages_give_text_and_calls_as_blocks(live):
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in NAMES]
    sent = {
        "model": "demo",
        "messages": [{"role": "user", "content": SPOKEN}],
        "tools": tools,
        "stop_sequences": [END],
        "max_tokens": 100,
    }
    with anthropic.Anthropic(base_url=live.url, api_key=KEY, max_retries=0) as client:
        whole = client.messages.create(**sent)
        with client.messages.stream(**sent) as stream:
            final = stream.get_final_message()
    for message in (whole, final):
        assert [block.type for block in message.content] == ["text", "tool_use"]
        assert (message.content[0].text, message.content[1].input, message.stop_reason) == ("Let me look. ", {"place": "Oslo"}, "tool_use")
