"""Predictions that may be kept, with a real nginx in front: that is how a CDN is used."""

from __future__ import annotations

import time

import httpx
import onnx
import pytest

from integration.served import half_plus_two
from modelyard import Client
from servers.nginx import caching

PATH = "/v1/deployments/{}/predict?x={}"


@pytest.fixture(scope="module")
def http(platform):
    with httpx.Client(base_url=platform.inference, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def proxy(platform):
    with caching(platform.inference) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def key(platform):
    return {"authorization": f"Bearer {platform.admin_key}"}


def test_a_record_in_the_query_is_predicted(http, platform):
    answer = http.get(PATH.format("kept", "1"), headers=key(platform))
    assert answer.json() == {"predictions": [{"y": 2.5}], "model": "half", "version": 1}
    assert answer.headers["cache-control"] == "private, max-age=2"
    assert answer.headers["etag"].startswith('W/"')
    assert http.get(PATH.format("closed", "1"), headers=key(platform)).headers["cache-control"] == "no-store"
    shown = http.get(PATH.format("shown", "1"))
    assert shown.headers["cache-control"] == "public, max-age=2, stale-while-revalidate=5"
    assert {"authorization", "x-api-key", "origin"} <= {name.strip() for name in shown.headers["vary"].split(",")}


@pytest.mark.parametrize("query", ["", "?", "?y=1", "?x=1&x=2", "?x=one", "?version=1", "?x=1&version=9", "?x=%ff"])
def test_a_query_that_is_no_record_is_refused_with_one_sentence(http, platform, query):
    answer = http.get(f"/v1/deployments/kept/predict{query}", headers=key(platform))
    assert answer.status_code in (400, 404), answer.text
    assert "etag" not in answer.headers
    assert answer.json()["error"]["message"]


def test_who_has_the_answer_gets_304_without_computing_and_it_is_recorded_as_cached(http, platform):
    def usage():
        time.sleep(1.5)  # the fold comes every second
        with Client(platform.url, platform.admin_key) as client:
            rows = client.platform.usage(by=["deployment"], since="1h")
        return next(row for row in rows if row.deployment == "kept")

    tag = http.get(PATH.format("kept", "7"), headers=key(platform)).headers["etag"]
    before = usage()
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        answer = http.get(PATH.format("kept", "7"), headers=key(platform) | {"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    after = usage()
    assert after.calls == before.calls + 4
    assert after.cached_calls == before.cached_calls + 4
    assert after.rows == before.rows
    other = http.get(PATH.format("kept", "8"), headers=key(platform) | {"if-none-match": tag})
    assert other.status_code == 200


def test_a_proxy_answers_for_us_and_asks_again_when_the_time_is_over(proxy, http):
    first = proxy.get(PATH.format("shown", "3"))
    again = proxy.get(PATH.format("shown", "3"))
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
    assert again.json() == first.json()
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    until = time.monotonic() + 20
    states = set()
    while "REVALIDATED" not in states and time.monotonic() < until:
        time.sleep(0.3)
        answer = proxy.get(PATH.format("shown", "3"))
        assert answer.json() == first.json()
        states.add(answer.headers["x-cache"])
    assert "REVALIDATED" in states, states


def test_a_proxy_keeps_nothing_that_a_key_was_needed_for(proxy, platform):
    for _ in range(2):
        answer = proxy.get(PATH.format("kept", "3"), headers=key(platform))
        assert (answer.status_code, answer.headers["x-cache"]) == (200, "MISS")
    assert proxy.get(PATH.format("kept", "3")).status_code == 401


def test_a_new_version_is_seen_when_the_time_is_over(proxy, platform, tmp_path):
    half_plus_two(tmp_path / "half.onnx")
    model = onnx.load(tmp_path / "half.onnx")
    model.doc_string = "another file of the same model"
    onnx.save(model, tmp_path / "half.onnx")
    with Client(platform.url, platform.admin_key) as client:
        client.deployments.put("moving", ["half@1"], policy={"public": {}, "caching": {"max_age_seconds": 1}})
        client.deployments.wait("moving")
        first = proxy.get(PATH.format("moving", "1"))
        version = client.push(tmp_path / "half.onnx", "half")
        client.deployments.put("moving", [f"half@{version.number}"])
        until = time.monotonic() + 20
        while (answer := proxy.get(PATH.format("moving", "1"))).json()["version"] == 1 and time.monotonic() < until:
            time.sleep(0.2)
    assert answer.json()["version"] == version.number
    assert answer.headers["etag"] != first.headers["etag"]
