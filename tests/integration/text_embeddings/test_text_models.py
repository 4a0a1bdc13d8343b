"""Text models called as text-embeddings-inference is, by Hugging Face's own client where it has the call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import text_models
from integration.language.live_language import KEY, LiveLanguage
from integration.live import READER, TWO, WIDE
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.text_embeddings.routes import PROTOCOL
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.hf_onnx import RUNTIME, activate

TEXTS = ["the cat", "anna in paris", "sat"]
TASKS = {
    "embed": {"task": "embed"},
    "classify": {"task": "classify", "labels": ["low", "middle", "high"]},
    "rerank": {"task": "rerank", "activation": "none"},
}


def served(tmp_path_factory, task):
    path = text_models.write(tmp_path_factory.mktemp("model"), TASKS[task], pooled=task != "embed")
    model = RUNTIME.load(path.parent, path.name, LoadOptions())
    return LiveLanguage(tmp_path_factory.mktemp("live"), model, [PROTOCOL])


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    with served(tmp_path_factory, "embed") as live:
        yield live


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    with served(tmp_path_factory, "classify") as live:
        yield live


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    with served(tmp_path_factory, "rerank") as live:
        yield live


def directions(texts):
    vectors = np.stack([text_models.vectors(text).mean(axis=0) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tokens(*texts):
    return sum(len(text_models.vectors(text)) for text in texts)


@pytest.mark.parametrize("path", ["/embed", "/deployments/demo/embed"])
def test_hugging_faces_client_gets_vectors_and_the_call_is_recorded(embedder, path):
    client = InferenceClient(model=f"{embedder.url}{path}", token=KEY)
    before = len(embedder.records())
    np.testing.assert_allclose(client.feature_extraction(TEXTS[1]), directions(TEXTS[1:2]), rtol=1e-5)
    (record,) = embedder.records()[before:]
    assert (record.protocol, record.kind, record.status, record.version_id) == (ProtocolId.TEXT_EMBEDDINGS, CallKind.EMBED, 200, 3)
    assert (record.rows, record.tokens_in) == (1, tokens(TEXTS[1]))
    raw = client.feature_extraction(TEXTS[0], normalize=False)
    np.testing.assert_allclose(raw, text_models.vectors(TEXTS[0]).mean(axis=0)[None], rtol=1e-5)
    assert client.feature_extraction(TEXTS[0], dimensions=2, truncate=True).shape == (1, 2)


def test_hugging_faces_client_compares_sentences(embedder):
    client = InferenceClient(model=f"{embedder.url}/similarity", token=KEY)
    found = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS)
    vectors = directions(TEXTS)
    np.testing.assert_allclose(found, vectors @ vectors[0], rtol=1e-5)
    assert embedder.records()[-1].tokens_in == tokens(TEXTS[0], *TEXTS)


def test_many_texts_are_embedded_at_once(embedder):
    answer = embedder.client.post("/embed", json={"inputs": TEXTS})
    np.testing.assert_allclose(answer.json(), directions(TEXTS), rtol=1e-5)
    assert answer.headers["x-compute-tokens"] == str(tokens(*TEXTS))


@pytest.mark.parametrize(("key", "status"), [(WIDE, 422), (TWO, 422), ("my_xyz_nothing_at_all", 401)])
def test_a_key_that_means_no_deployment_is_told_so(embedder, key, status):
    bearer = {"authorization": f"Bearer {key}"}
    answer = embedder.client.post("/embed", json={"inputs": "sat"}, headers=bearer)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "error_type"})
    if status == 422:
        assert "/deployments/NAME/embed" in answer.json()["error"]
        assert embedder.client.post("/deployments/demo/embed", json={"inputs": "sat"}, headers=bearer).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/embed", {"inputs": []}, "no input"),
        ("/embed", {"inputs": [[1, 2]]}, "Token ids"),
        ("/embed", {}, "inputs"),
        ("/embed", {"inputs": "a", "dimensions": 0}, "dimensions is 0"),
        ("/embed", {"inputs": "a", "truncate": False}, "truncate: false"),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, "truncation_direction 'Left'"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
        ("/embed", {"inputs": "a", "encoding_format": "base64"}, "encoding_format"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, "no sentences"),
        ("/rerank", {"query": "a", "texts": ["b"]}, "does not rank texts"),
        ("/rerank", {"query": "a", "texts": []}, "no texts to rank"),
        ("/predict", {"inputs": "a"}, "does not classify texts"),
        ("/predict", {"inputs": [["a"], "b"]}, "Row 1 of inputs"),
        ("/predict", {"inputs": ["a", "b"]}, "has 2 texts"),
        ("/predict", {"inputs": "a", "raw_scores": True}, "raw_scores"),
    ],
)
def test_what_is_wrong_is_said(embedder, path, body, said):
    answer = embedder.client.post(path, json=body)
    assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
    assert said in answer.json()["error"]


def test_the_client_sees_a_refusal_as_an_error_of_its_own(embedder):
    with pytest.raises(HfHubHTTPError, match="422"):
        InferenceClient(model=f"{embedder.url}/embed", token=KEY).feature_extraction("a", truncate=False)


def summed(text):
    return text_models.vectors(text).sum(axis=0)


def test_a_text_is_classified_with_every_label(classifier):
    one = classifier.client.post("/predict", json={"inputs": "sat"}).json()
    assert [item["label"] for item in one] == ["high", "middle", "low"]
    expected = np.sort(activate(summed("sat")[None], "softmax")[0])[::-1]
    np.testing.assert_allclose([item["score"] for item in one], expected, rtol=1e-4, atol=1e-12)
    many = classifier.client.post("/deployments/demo/predict", json={"inputs": [["sat"], ["the cat"]]}).json()
    assert (len(many), many[0]) == (2, one)
    record = classifier.records()[-1]
    assert (record.protocol, record.kind, record.rows) == (ProtocolId.TEXT_EMBEDDINGS, CallKind.INFER, 2)
    assert record.tokens_in == tokens("sat", "the cat")
    refused = classifier.client.post("/embed", json={"inputs": "sat"})
    assert (refused.status_code, "does not turn texts into vectors" in refused.json()["error"]) == (422, True)


def test_texts_are_ranked_the_best_first(reranker):
    answer = reranker.client.post("/rerank", json={"query": "paris", "texts": TEXTS, "return_text": True})
    found = answer.json()
    scores = [summed(f"paris [SEP] {text}")[0] for text in TEXTS]
    assert [item["index"] for item in found] == np.argsort(-np.array(scores)).tolist()
    for item in found:
        assert item["text"] == TEXTS[item["index"]]
        assert item["score"] == pytest.approx(scores[item["index"]], rel=1e-5)
    bare = reranker.client.post("/deployments/demo/rerank", json={"query": "paris", "texts": TEXTS}).json()
    assert set(bare[0]) == {"index", "score"}
    assert reranker.records()[-1].tokens_in == int(answer.headers["x-compute-tokens"]) > 0


def test_a_key_that_may_only_read_embeds_nothing(embedder):
    answer = embedder.client.post("/deployments/demo/embed", json={"inputs": "sat"}, headers={"authorization": f"Bearer {READER}"})
    assert (answer.status_code, answer.json()["error_type"]) == (403, "PermissionDenied")


def test_without_a_key_nothing_is_answered(embedder):
    answer = httpx.post(f"{embedder.url}/embed", json={"inputs": "sat"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_what_a_model_does_is_told(embedder, classifier, reranker):
    told = embedder.client.get("/info").json()
    assert (told["model_id"], told["model_version"], told["model_type"]) == ("demo", 3, {"embedding": {}})
    assert embedder.client.get("/deployments/demo/info").json() == told
    assert classifier.client.get("/info").json()["model_type"]["classifier"]["label2id"] == {"low": 0, "middle": 1, "high": 2}
    assert list(reranker.client.get("/info").json()["model_type"]) == ["reranker"]


def test_tokens_of_texts_are_told_and_turned_back(embedder):
    text = "The cat, in paris"
    (told,) = embedder.client.post("/deployments/demo/tokenize", json={"inputs": text}).json()
    assert [set(token) for token in told] == [{"id", "text", "special", "start", "stop"}] * len(told)
    assert [token["text"] for token in told if not token["special"]] == [
        text[token["start"] : token["stop"]] for token in told if not token["special"]
    ]
    assert len(told) == 7 > tokens(text)  # the model reads no more than six
    many = embedder.client.post("/deployments/demo/tokenize", json={"inputs": TEXTS, "add_special_tokens": False}).json()
    assert [not any(token["special"] for token in row) for row in many] == [True] * 3
    ids = [[token["id"] for token in row] for row in many]
    back = embedder.client.post("/decode", json={"ids": ids}).json()
    assert [part.replace(" ", "") for part in back] == [part.replace(" ", "") for part in TEXTS]
    assert embedder.client.post("/decode", json={"ids": ids[0]}).json() == back[:1]
    assert embedder.records()[-1].kind is CallKind.METADATA


def test_every_token_has_a_vector(embedder):
    answer = embedder.client.post("/embed_all", json={"inputs": TEXTS})
    for text, found in zip(TEXTS, answer.json(), strict=True):
        np.testing.assert_allclose(found, text_models.vectors(text), rtol=1e-5)
    assert answer.headers["x-compute-tokens"] == str(tokens(*TEXTS))
    assert embedder.records()[-1].tokens_in == tokens(*TEXTS)


def test_calls_for_vectors_and_for_tokens_at_once_get_each_their_own(embedder):
    with ThreadPoolExecutor(8) as threads:
        paths = ["/embed", "/embed_all", "/deployments/demo/tokenize"] * 8
        found = list(threads.map(lambda path: embedder.client.post(path, json={"inputs": TEXTS[1]}).json(), paths))
    assert found == found[:3] * 8
    np.testing.assert_allclose(found[0], directions(TEXTS[1:2]), rtol=1e-5)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/decode", {"ids": []}, "no token ids"),
        ("/decode", {"ids": [[1], "a"]}, "no token ids"),
        ("/decode", {"ids": [10**9]}, "has no token 1000000000"),
        ("/decode", {"ids": [-1]}, "numbers from 0 to"),
        ("/deployments/demo/tokenize", {"inputs": []}, "no input"),
        ("/embed_all", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
    ],
)
def test_what_is_wrong_with_tokens_is_said(embedder, path, body, said):
    answer = embedder.client.post(path, json=body)
    assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
    assert said in answer.json()["error"]


def test_a_model_whose_graph_pools_has_no_vectors_of_tokens(classifier, reranker):
    answer = classifier.client.post("/embed_all", json={"inputs": "sat"})
    assert (answer.status_code, "does not give token_vectors" in answer.json()["error"]) == (422, True)
    told = classifier.client.post("/deployments/demo/tokenize", json={"inputs": "sat"}).json()
    assert reranker.client.post("/deployments/demo/tokenize", json={"inputs": "sat"}).json() == told
