"""The Open Inference Protocol's ``generate`` extension on a real socket."""

from __future__ import annotations

import json

import pytest

from integration.language.live_language import LiveLanguage
from modelyard.testing.language_model import RepeatingModel

PATH = "/v2/models/demo/generate"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveLanguage(tmp_path_factory.mktemp("live"), RepeatingModel()) as live:
        yield live


def test_a_text_is_continued_whole_and_piece_by_piece(live):
    asked = {"text_input": "one two three", "parameters": {"max_tokens": 4, "temperature": 0}}
    whole = live.client.post(PATH, json=asked).json()
    assert whole == {"model_name": "demo", "model_version": "3", "text_output": "one two threeone"}
    with live.client.stream("POST", f"{PATH}_stream", json={"text_input": "one two three", "max_tokens": 4}) as reply:
        events = [json.loads(line[5:]) for line in reply.iter_lines() if line.startswith("data:")]
    assert "".join(event["text_output"] for event in events) == "one two threeone"
    assert live.records()[-1].tokens_out == 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text_input"),
        ({"text_input": "a", "colour": 1}, "no parameter 'colour'"),
        ({"text_input": "a", "max_tokens": "many"}, "cannot be used"),
        ({"text_input": "a", "max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_what_is_wrong_is_said(live, body, said):
    reply = live.client.post(PATH, json=body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]
