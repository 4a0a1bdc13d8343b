"""The contract of formats that people bring, over encoders as Hugging Face saves them."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from modelyard.testing.importer_contract import Case, ImporterContract

pytestmark = pytest.mark.usefixtures("quick_conversions")
PRELOADED = ["modelyard.importers.work", "modelyard.importers.text_models", "onnxscript", "torch._dynamo", "onnxruntime"]


class TestEncoders(ImporterContract):
    """Tiny random ones, with a tokenizer trained here; texts of different lengths."""

    @pytest.fixture(scope="class", params=["embed", "classify", "tag", "rerank"])
    @classmethod
    def case(cls, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp(request.param)
        files = networks.encoder(folder, request.param, "distilbert" if request.param == "tag" else "bert")
        texts = np.array([*networks.TEXTS, "", "bird " * 60], object)
        inputs = {"text": texts} | ({"query": texts[::-1].copy()} if request.param == "rerank" else {})
        return Case(
            importer="hugging_face",
            files=files,
            inputs=inputs,
            outputs=networks.encoded(folder, request.param, inputs),
            runs_code=False,
            main="model.safetensors",
        )
