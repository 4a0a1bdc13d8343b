from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from language import converted_decoder, decoder_folder  # noqa: F401  # fixtures
from modelyard.runtimes.base import GenerativeModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.testing.generation_contract import GenerationContract
from modelyard.testing.language_model import RepeatingModel
from modelyard.testing.over_socket import SocketGenerativeModel


class TestRepeatingModel(GenerationContract):
    @pytest.fixture
    def model(self) -> Iterator[GenerativeModel]:
        model = RepeatingModel(step_s=0.001, context_length=256)
        yield model
        model.close()


class TestRepeatingModelInAReplica(GenerationContract):
    @pytest.fixture
    def model(self) -> Iterator[GenerativeModel]:
        model = SocketGenerativeModel(RepeatingModel(step_s=0.001, context_length=256))
        yield model
        model.close()


class TestOpenVino(GenerationContract):
    @pytest.fixture
    def model(self, converted_decoder: Path) -> Iterator[GenerativeModel]:  # noqa: F811
        model = RUNTIMES.get("openvino").load(converted_decoder, "openvino_model.xml", LoadOptions(threads=1))
        assert isinstance(model, GenerativeModel)
        yield model
        model.close()
