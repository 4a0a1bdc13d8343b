"""What the metrics page tells after real generations."""

from __future__ import annotations

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.language.live_language import KEY, LiveLanguage
from modelyard.observability.exports import export_path, read_exports
from modelyard.observability.exposition import render
from modelyard.server.telemetry import Telemetry
from modelyard.testing.language_model import RepeatingModel


def never(seconds, run):
    """A loop that does not come to it."""


@pytest.fixture
def live(tmp_path_factory):
    with LiveLanguage(tmp_path_factory.mktemp("live"), RepeatingModel()) as live:
        yield live


def samples(folder):
    families = text_string_to_metric_families(render(read_exports(folder)).decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def ours(name):
    return f"modelyard_{name}", (("deployment", "demo"), ("version", "words@3"))


def vllm(name):
    return f"vllm:{name}", (("model_name", "demo"),)


def gen_ai(name):
    labels = (("gen_ai_provider_name", "modelyard"), ("gen_ai_request_model", "demo"), ("gen_ai_response_model", "words@3"))
    return f"gen_ai_server_{name}", labels


def test_generations_are_told_by_all_their_names_and_merged_over_workers(live, tmp_path):
    workers = [Telemetry(export_path(tmp_path, slot), None, never) for slot in (0, 1)]
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as client:
        used = client.completions.create(model="demo", prompt="one two", max_tokens=5).usage
        for worker in workers:
            worker.statistics = live.served.plane.statistics
            worker.export()
            worker.export()  # what was told is not told again
        found = samples(tmp_path)
        for name in (ours("generated_tokens_total"), vllm("generation_tokens_total")):
            assert found[name] == 2 * used.completion_tokens
        for name in (ours("prompt_tokens_total"), vllm("prompt_tokens_total")):
            assert found[name] == 2 * used.prompt_tokens
        for name in (
            ours("first_token_seconds_count"),
            vllm("time_to_first_token_seconds_count"),
            gen_ai("time_to_first_token_seconds_count"),
        ):
            assert found[name] == 2
        for name in (ours("between_tokens_seconds_count"), vllm("inter_token_latency_seconds_count")):
            assert found[name] == found[gen_ai("time_per_output_token_seconds_count")] == 2 * (used.completion_tokens - 1)
        assert found[vllm("e2e_request_latency_seconds_sum")] == found[ours("generation_seconds_sum")] > 0
        assert found[ours("generations_running")] == found[vllm("num_requests_running")] == found[vllm("num_requests_waiting")] == 0
        heir = Telemetry(export_path(tmp_path, 0), None, never)
        heir.statistics = live.served.plane.statistics
        live.statistics.generation = None  # as after a restart
        client.completions.create(model="demo", prompt="one", max_tokens=3)
        heir.export()
    assert samples(tmp_path)[ours("generated_tokens_total")] == 2 * used.completion_tokens + 3
