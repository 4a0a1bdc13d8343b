"""What becomes of counts of generations whose versions are routed to no longer."""

from types import SimpleNamespace

from modelyard.observability.metrics import Metrics
from modelyard.server.generations import GenerationMetrics
from modelyard.serving.generating import GenerationStatistics
from modelyard.serving.statistics import CallStatistics


def lane(statistics, number=1):
    return 1, "demo", SimpleNamespace(version=SimpleNamespace(model="words", number=number)), statistics


def generating(**counts):
    statistics = CallStatistics()
    statistics.generation = GenerationStatistics()
    for name, value in counts.items():
        setattr(statistics.generation, name, value)
    return statistics


def values(metrics, name):
    (family,) = [family for family in metrics.export() if family.name == name]
    return dict(family.values)


def test_versions_that_do_not_generate_make_no_series():
    metrics = Metrics()
    GenerationMetrics(metrics).take([lane(CallStatistics())])
    assert not any(family.values or family.counts for family in metrics.export())


def test_a_version_is_followed_until_its_last_generation_ended():
    metrics, old, new = Metrics(), generating(running=1, tokens_out=2), generating(tokens_out=5)
    generations = GenerationMetrics(metrics)
    generations.take([lane(old)])
    generations.take([lane(new, 2)])
    assert values(metrics, "modelyard_generations_running") == {("demo", "words@1"): 1, ("demo", "words@2"): 0}
    old.generation.running, old.generation.tokens_out = 0, 7
    generations.take([lane(new, 2)])
    old.generation.tokens_out = 100  # nobody looks any more
    generations.take([lane(new, 2)])
    assert values(metrics, "modelyard_generations_running") == {("demo", "words@1"): 0, ("demo", "words@2"): 0}
    assert values(metrics, "modelyard_generated_tokens_total") == {("demo", "words@1"): 7, ("demo", "words@2"): 5}


def test_the_same_version_loaded_again_counts_on():
    metrics = Metrics()
    generations = GenerationMetrics(metrics)
    for _ in range(2):
        fresh = generating(tokens_in=3)
        fresh.generation.first.add(0.2)
        generations.take([lane(fresh)])
    assert values(metrics, "modelyard_prompt_tokens_total") == {("demo", "words@1"): 6}
    (first,) = [family for family in metrics.export() if family.name == "modelyard_first_token_seconds"]
    assert [(sum(counts), round(total, 6)) for _labels, counts, total in first.counts] == [(2, 0.4)]
