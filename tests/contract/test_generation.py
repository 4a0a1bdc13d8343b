from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.runtimes.base import GenerativeModel
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
