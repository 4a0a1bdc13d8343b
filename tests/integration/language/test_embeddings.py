"""Embeddings by the official client, over a text model on a real socket."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

import text_models
from integration.language.live_language import LiveLanguage
from modelyard.core.usage import CallKind
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.hf_onnx import RUNTIME

TEXTS = ["the cat", "anna in paris", "sat"]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    path = text_models.write(tmp_path_factory.mktemp("model"), {"task": "embed"})
    model = RUNTIME.load(path.parent, path.name, LoadOptions())
    with LiveLanguage(tmp_path_factory.mktemp("live"), model) as live:
        yield live


def test_texts_become_vectors_in_both_encodings(live, client):
    floats = client.embeddings.create(model="demo", input=TEXTS, encoding_format="float")
    usual = client.embeddings.create(model="demo", input=TEXTS)  # the client asks for base64 and turns it back itself
    for text, one, other in zip(TEXTS, floats.data, usual.data, strict=True):
        np.testing.assert_allclose(one.embedding, text_models.vectors(text).mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(other.embedding, one.embedding, rtol=1e-6)
    assert floats.usage.prompt_tokens > 0
    record = [record for record in live.records() if record.kind is CallKind.EMBED][-1]
    assert (record.rows, record.tokens_in) == (3, usual.usage.prompt_tokens)
    raw = live.client.post("/v1/embeddings", json={"model": "demo", "input": "a b", "encoding_format": "base64"}).json()
    assert len(base64.b64decode(raw["data"][0]["embedding"])) == 4 * len(floats.data[0].embedding)


def test_fewer_dimensions_are_a_prefix_of_length_one(client):
    whole = np.array(client.embeddings.create(model="demo", input="a b").data[0].embedding)
    short = np.array(client.embeddings.create(model="demo", input="a b", dimensions=2).data[0].embedding)
    np.testing.assert_allclose(short, whole[:2] / np.linalg.norm(whole[:2]), rtol=1e-5)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"input": []}, "no input"),
        ({"input": [1, 2]}, "Token ids"),
        ({"input": "a", "dimensions": 9999}, "dimensions is 9999"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format 'hex'"),
    ],
)
def test_what_is_wrong_is_said(client, asked, said):
    with pytest.raises(openai.BadRequestError, match=said):
        client.embeddings.create(model="demo", **asked)


def test_a_model_that_embeds_does_not_chat(client):
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "a"}])
