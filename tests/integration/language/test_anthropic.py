"""The official client, as it is, against a real model on a real socket."""

from __future__ import annotations

import anthropic
import pytest

from integration.language.live_language import KEY, LiveLanguage
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.openvino import RUNTIME

ASKED = {"model": "demo", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 6, "system": "Be brief."}
GREEDY = {"temperature": 0}  # this client sends what it does not know as it is
TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"place": {"enum": ["Oslo"]}}, "required": ["place"], "additionalProperties": False},
}


@pytest.fixture(scope="module")
def client(converted_decoder, tmp_path_factory):
    model = RUNTIME.load(converted_decoder, "openvino_model.xml", LoadOptions(threads=1))
    with (
        LiveLanguage(tmp_path_factory.mktemp("live"), model) as live,
        anthropic.Anthropic(base_url=live.url, api_key=KEY, max_retries=0) as client,
    ):
        yield client


def test_a_message_whole_and_streamed(client):
    whole = client.messages.create(**ASKED, extra_body=GREEDY)
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 6)
    with client.messages.stream(**ASKED, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.usage.output_tokens == 6
    counted = client.messages.count_tokens(model="demo", messages=ASKED["messages"], system="Be brief.")
    assert counted.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_a_tool_is_used_when_it_must_be(client):
    asked = {**ASKED, "max_tokens": 60, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}}
    whole = client.messages.create(**asked)
    assert whole.stop_reason == "tool_use"
    assert whole.content[0].input == {"place": "Oslo"}
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[0].input == {"place": "Oslo"}
    result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "Rain."}
    talk = [*ASKED["messages"], {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**{**ASKED, "messages": talk, "tools": [TOOL]}).content


def test_errors_are_of_the_clients_own_kinds(client):
    with pytest.raises(anthropic.NotFoundError, match="no deployment"):
        client.messages.create(**{**ASKED, "model": "other"})
    with pytest.raises(anthropic.BadRequestError, match="user or assistant"):
        client.messages.create(**{**ASKED, "messages": [{"role": "robot", "content": "x"}]})
