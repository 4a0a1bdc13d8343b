"""Counting in one process, and one page for many."""

import msgspec
import pytest

from modelyard.observability.exposition import render
from modelyard.observability.metrics import Export, Metrics


def requests_of(process):
    return process.counter("modelyard_requests_total", "Requests.", ("status",))


def over_the_wire(metrics):
    return msgspec.json.decode(msgspec.json.encode(metrics.export()), type=Export)


def test_counters_of_processes_are_added():
    one, two = Metrics(), Metrics()
    requests_of(one).add(("200",), 3)
    requests = requests_of(two)
    requests.add(("200",))
    requests.add(("404",))
    page = render([over_the_wire(one), over_the_wire(two)]).decode()
    assert 'modelyard_requests_total{status="200"} 4.0' in page
    assert 'modelyard_requests_total{status="404"} 1.0' in page
    assert "# TYPE modelyard_requests_total counter" in page


def test_counter_does_not_go_back_when_its_process_is_replaced():
    dead, heir = Metrics(), Metrics()
    requests_of(dead).add(("200",), 5)
    counter = requests_of(heir)
    heir.resume(over_the_wire(dead))
    counter.add(("200",))
    assert counter.get(("200",)) == 6


def test_histograms_are_merged_with_cumulative_buckets():
    one, two = Metrics(), Metrics()
    for process, values in ((one, (0.5, 3.0)), (two, (1.0, 9.0))):
        histogram = process.histogram("modelyard_seconds", "Time.", buckets=(1.0, 5.0))
        for value in values:
            histogram.observe(value)
    page = render([over_the_wire(one), over_the_wire(two)]).decode()
    assert 'modelyard_seconds_bucket{le="1.0"} 2.0' in page
    assert 'modelyard_seconds_bucket{le="5.0"} 3.0' in page
    assert 'modelyard_seconds_bucket{le="+Inf"} 4.0' in page
    assert "modelyard_seconds_sum 13.5" in page


def test_histogram_resumes_unless_its_buckets_are_others():
    dead, heir, stranger = Metrics(), Metrics(), Metrics()
    dead.histogram("h", "H.", ("a",), buckets=(1.0,)).observe(0.5, ("x",))
    heir.histogram("h", "H.", ("a",), buckets=(1.0,)).observe(2.0, ("x",))
    stranger.histogram("h", "H.", ("a",), buckets=(2.0,))
    heir.resume(over_the_wire(dead))
    stranger.resume(over_the_wire(dead))
    assert heir.export()[0].counts == [(("x",), [1, 1], 2.5)]
    assert stranger.export()[0].counts == []


def test_gauges_add_or_take_the_greatest_and_are_not_resumed():
    one, two = Metrics(), Metrics()
    for process, value in ((one, 2), (two, 5)):
        process.gauge("modelyard_connections", "Open.").set(value)
        process.gauge("modelyard_age", "Age.", merge="max").set(value)
    page = render([over_the_wire(one), over_the_wire(two)], {"modelyard_jobs": ("Jobs.", 3)}).decode()
    assert "modelyard_connections 7.0" in page
    assert "modelyard_age 5.0" in page
    assert "modelyard_jobs 3.0" in page
    heir = Metrics()
    gauge = heir.gauge("modelyard_connections", "Open.")
    heir.resume(over_the_wire(one))
    assert gauge.get() == 0


def test_metric_is_declared_once():
    metrics = Metrics()
    metrics.gauge("g", "G.")
    with pytest.raises(ValueError, match="twice"):
        metrics.counter("g", "G.")
