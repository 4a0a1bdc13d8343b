import json
import logging
import time

import numpy as np
import pytest

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidArtifact, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import FinishReason, GenerateRequest, Grammar, GrammarKind, Sampling
from modelyard.protocols.openai.tools import Tools
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.runtimes.remote import proxy_of
from modelyard.testing.generation_contract import Generation
from modelyard.testing.over_socket import SocketGenerativeModel
from servers.openai_shaped import OpenAIShaped

PROMPT = GenerateRequest(prompt="one two three")
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


@pytest.fixture
def servers():
    with OpenAIShaped() as first, OpenAIShaped() as second:
        yield first, second


@pytest.fixture
def load(tmp_path):
    made = []

    def loading(*urls, unseal=None, **fields):
        endpoints = [{"url": f"{url}/v1", "model": "m", **fields.pop("endpoint", {})} for url in urls]
        (tmp_path / "remote.json").write_text(json.dumps({"protocol": "openai", "endpoints": endpoints, **fields}))
        model = RUNTIMES.get("remote").load(tmp_path, "remote.json", LoadOptions(unseal=unseal))
        made.append(model)
        return model

    yield loading
    for model in made:
        model.close()


def text(model, request=PROMPT):
    return Generation(model, request).text()


def test_a_prompt_and_messages_are_streamed_and_counted(servers, load):
    model = load(servers[0].url)
    chunks = Generation(model, PROMPT).rest()
    assert [chunk.text for chunk in chunks] == ["one ", "two ", "three ", ""]
    assert (chunks[-1].finish, chunks[-1].usage.tokens_in, chunks[-1].usage.tokens_out, chunks[-1].usage.tokens_cached) == (
        FinishReason.STOP,
        7,
        3,
        3,
    )
    sampling = Sampling(max_tokens=1, temperature=0.0, stop=("x",), seed=4)
    messages = GenerateRequest(messages=({"role": "user", "content": "four five"},), sampling=sampling, grammar=Grammar(GrammarKind.JSON))
    assert text(model, messages) == "four "
    assert [path for path, _ in servers[0].requests] == ["/v1/completions", "/v1/chat/completions"]
    sent = servers[0].requests[1][1]
    assert {name: sent[name] for name in ("model", "max_tokens", "temperature", "stop", "seed")} == {
        "model": "m",
        "max_tokens": 1,
        "temperature": 0,
        "stop": ["x"],
        "seed": 4,
    }
    assert sent["response_format"] == {"type": "json_object"}


def test_a_connection_serves_one_call_after_the_other(servers, load):
    servers[0].keeps = True
    model = load(servers[0].url)
    assert [text(model) for _ in range(5)] == ["one two three "] * 5
    assert len(servers[0].connections) == 1


def test_a_line_without_an_end_ends_the_call_and_not_the_replica(servers, load):
    model = load(servers[0].url)
    with pytest.raises(Internal, match="cannot be read"):
        text(model, GenerateRequest(prompt="x" * 3_000_000))
    assert text(model) == "one two three "


def test_proxies_are_those_that_the_environment_names(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_of("https://api.example.com/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,.inner.example")
    assert proxy_of("https://api.example.com/v1") == "http://proxy.example:3128"
    assert proxy_of("http://api.example.com/v1") is None
    assert proxy_of("https://models.inner.example:8443/v1") is None


def test_it_streams_through_a_replica_as_well(servers, load):
    model = SocketGenerativeModel(load(servers[0].url))
    assert text(model) == "one two three "
    model.close()


@pytest.mark.parametrize("failure", [500, 429, 503, 401])
def test_the_next_endpoint_answers_when_one_fails(servers, load, failure):
    first, second = servers
    first.fail = [failure]
    model = load(first.url, second.url)
    assert text(model) == "one two three "
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_one_endpoint_is_tried_again_after_a_pause(servers, load):
    servers[0].fail = [503, 503]
    began = time.monotonic()
    assert text(load(servers[0].url)) == "one two three "
    assert time.monotonic() - began > 0.1
    assert len(servers[0].requests) == 3


def test_an_answer_that_was_begun_is_not_begun_again(servers, load):
    servers[0].fail = ["cut"]
    generation = Generation(load(servers[0].url, servers[1].url), PROMPT)
    assert generation.next().text == "one "
    with pytest.raises(Unavailable, match="cut off"):
        generation.rest()
    assert not servers[1].requests


def test_an_endpoint_that_fails_in_a_row_is_left_alone_and_then_tried_once(servers, load):
    first, second = servers
    first.fail = [500] * 3
    model = load(first.url, second.url, breaker_failures=2, breaker_seconds=0.4)
    for _ in range(4):
        assert text(model) == "one two three "
    assert (len(first.requests), len(second.requests)) == (2, 4)
    time.sleep(0.5)
    assert text(model) == "one two three "  # the trial fails, and the call is answered all the same
    assert len(first.requests) == 3
    time.sleep(0.5)
    text(model)
    text(model)
    assert (len(first.requests), len(second.requests)) == (5, 5)


def test_when_none_answers_the_reason_is_told_and_no_storm_is_made(servers, load):
    servers[0].fail = [500] * 1000
    model = load(servers[0].url, retries=3, breaker_failures=1000, retry_budget=0.1)
    for _ in range(10):
        with pytest.raises(Unavailable, match="it answered 500"):
            text(model)
    assert len(servers[0].requests) <= 10 + 11  # ten retries that are always free, and a tenth of the calls


def test_what_the_endpoint_refuses_is_the_callers_to_mend(servers, load):
    servers[0].fail = [400]
    with pytest.raises(InvalidRequest, match="refused the call: status 400 as you wished"):
        text(load(servers[0].url))
    assert len(servers[0].requests) == 1


def test_a_cancelled_call_ends_upstream_as_well(servers, load):
    servers[0].word_s = 0.02
    generation = Generation(load(servers[0].url), GenerateRequest(prompt="word " * 500))
    generation.next()
    generation.cancel()
    assert generation.rest()[-1].finish is FinishReason.CANCELLED
    until = time.monotonic() + 10
    while not servers[0].broken_off and time.monotonic() < until:
        time.sleep(0.02)
    assert servers[0].broken_off


def test_a_deadline_and_silence_end_a_call(servers, load):
    servers[0].fail = ["hang", "hang"]
    late = GenerateRequest(prompt="x", deadline_ns=time.monotonic_ns() + 200_000_000)
    with pytest.raises(DeadlineExceeded):
        text(load(servers[0].url), late)
    with pytest.raises(Unavailable, match="SocketTimeoutError"):
        text(load(servers[0].url, timeout_seconds=0.2, retries=0))


def test_the_key_goes_to_its_host_and_into_no_log(servers, load, caplog):
    caplog.set_level(logging.DEBUG)
    asked = []

    def unseal(sealed, origin):
        asked.append((sealed, origin))
        return "sk-very-secret"

    model = load(servers[0].url, unseal=unseal, endpoint={"sealed_key": "sealed1.abc"})
    assert text(model) == "one two three "
    assert servers[0].keys == ["Bearer sk-very-secret"]
    assert asked == [("sealed1.abc", servers[0].url)]
    servers[0].fail = [500] * 3
    with pytest.raises(Unavailable):
        text(model)
    assert "sk-very-secret" not in caplog.text


def test_tensors_are_computed_elsewhere(servers, load, tmp_path):
    endpoints = [{"url": servers[0].url, "model": "m"}]
    (tmp_path / "remote.json").write_text(json.dumps({"protocol": "open_inference", "endpoints": endpoints, "signature": SIGNATURE}))
    model = RUNTIMES.get("remote").load(tmp_path, "remote.json", LoadOptions())
    servers[0].fail = [503]
    assert model.infer({"x": np.array([[1, 2]], np.float32)})["y"].tolist() == [[2, 4]]
    assert servers[0].requests[0][0] == "/v2/models/m/infer"
    model.close()
    with pytest.raises(Unavailable):
        model.infer({"x": np.array([[1, 2]], np.float32)})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "cannot be used"),
        ({"protocol": "smtp", "endpoints": []}, "protocol"),
        ({"protocol": "openai", "endpoints": []}, "endpoints"),
        ({"protocol": "openai", "endpoints": [{"url": "ftp://x", "model": "m"}]}, "no address of an endpoint"),
        ({"protocol": "openai", "endpoints": [{"url": "https://user:pass@x/v1", "model": "m"}]}, "without a key"),
        ({"protocol": "openai", "endpoints": [{"url": "https://x/v1", "model": "m", "key": "sk"}]}, "key"),
        ({"protocol": "open_inference", "endpoints": [{"url": "https://x", "model": "m"}]}, "needs a signature"),
    ],
)
def test_settings_that_cannot_be_used_say_why(tmp_path, written, said):
    (tmp_path / "remote.json").write_text(written if isinstance(written, str) else json.dumps(written))
    with pytest.raises(InvalidArtifact, match=said):
        RUNTIMES.get("remote").load(tmp_path, "remote.json", LoadOptions())


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_functions_are_offered_and_their_calls_come_back(servers, load):
    called = [("weather", '{"pla', 'ce": "Oslo"}'), ("weather", "", "")]
    servers[0].calls = called
    model = load(servers[0].url)
    before = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"place": "Rome"}}}],
    }
    asked = GenerateRequest(
        messages=({"role": "user", "content": "one"}, before, {"role": "tool", "tool_call_id": "a", "content": "Rain."}),
        tools=(WEATHER,),
        must_call=("weather",),
        grammar=Grammar(GrammarKind.JSON_SCHEMA, "{}"),
    )
    said = Tools([WEATHER], None).read(text(model, asked))
    assert [json.loads(one["function"]["arguments"]) for one in said.calls] == [{"place": "Oslo"}, {}]
    assert said.text == "Rain. "
    sent = servers[0].requests[0][1]
    assert (sent["tools"], sent["tool_choice"]) == ([WEATHER], {"type": "function", "function": {"name": "weather"}})
    assert "response_format" not in sent
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"place":"Rome"}'


def test_log_probabilities_biases_and_token_ids_are_passed_on(servers, load):
    model = load(servers[0].url)
    messages = ({"role": "user", "content": "four five"},)
    for request in (GenerateRequest(messages=messages, logprobs=1), GenerateRequest(prompt="four five", logprobs=1)):
        told = [one for chunk in Generation(model, request).rest() for one in chunk.logprobs]
        assert [(one.text, one.raw, one.logprob, one.top[0].text) for one in told] == [
            ("four ", b"four ", -0.5, "four "),
            ("five ", b"five ", -0.5, "five "),
        ]
    assert servers[0].requests[0][1]["top_logprobs"] == servers[0].requests[1][1]["logprobs"] == 1
    text(model, GenerateRequest(token_ids=(5, 6), sampling=Sampling(logit_bias={7: -100.0})))
    sent = servers[0].requests[2][1]
    assert (sent["prompt"], sent["logit_bias"]) == ([5, 6], {"7": -100.0})


def test_what_cannot_be_passed_on_is_refused(servers, load):
    model = load(servers[0].url)
    with pytest.raises(ModelyardError, match="served elsewhere"):
        text(model, GenerateRequest(prompt="x", sampling=Sampling(max_tokens=0)))
    with pytest.raises(ModelyardError, match="a grammar of kind 'regex' is not passed on"):
        text(model, GenerateRequest(prompt="x", grammar=Grammar(GrammarKind.REGEX, "a+")))
