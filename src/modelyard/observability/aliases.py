"""Names under which dashboards for language models look for what we count: vLLM's, and those of OpenTelemetry's GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from modelyard.observability.metrics import Export, Family, Labels

VLLM: dict[str, tuple[str, ...]] = {
    "modelyard_generations_running": ("vllm:num_requests_running",),
    "modelyard_generations_waiting": ("vllm:num_requests_waiting",),
    "modelyard_prompt_tokens_total": ("vllm:prompt_tokens_total", "vllm:prefix_cache_queries_total"),
    "modelyard_cached_tokens_total": ("vllm:prefix_cache_hits_total",),
    "modelyard_generated_tokens_total": ("vllm:generation_tokens_total",),
    "modelyard_first_token_seconds": ("vllm:time_to_first_token_seconds",),
    "modelyard_between_tokens_seconds": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "modelyard_generation_seconds": ("vllm:e2e_request_latency_seconds",),
}
"""``vllm:time_per_output_token_seconds`` is what older versions call the time between tokens."""
GEN_AI = {
    "modelyard_first_token_seconds": "gen_ai_server_time_to_first_token_seconds",
    "modelyard_between_tokens_seconds": "gen_ai_server_time_per_output_token_seconds",
    "modelyard_generation_seconds": "gen_ai_server_request_duration_seconds",
}
"""As OpenTelemetry's exporter for Prometheus writes the conventions' names."""
_VLLM_LABELS = ("model_name",)
_GEN_AI_LABELS = ("gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")


def aliases(export: Export) -> Iterator[Family]:
    """The families again under other names.

    Clients name a deployment as their model, so that it is the model here. vLLM's names do not tell versions apart; whoever merges
    families adds them up.
    """
    for family in export:
        if family.values or family.counts:
            for name in VLLM.get(family.name, ()):
                yield _renamed(family, name, _VLLM_LABELS)
            if family.name in GEN_AI:
                yield _renamed(family, GEN_AI[family.name], _GEN_AI_LABELS)


def _renamed(family: Family, name: str, labels: Labels) -> Family:
    def relabelled(given: Labels) -> Labels:
        deployment, version = given
        return (deployment,) if labels == _VLLM_LABELS else ("modelyard", deployment, version)

    return msgspec.structs.replace(
        family,
        name=name,
        labels=labels,
        values=[(relabelled(given), value) for given, value in family.values],
        counts=[(relabelled(given), counts, total) for given, counts, total in family.counts],
    )
