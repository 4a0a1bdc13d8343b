from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from language import converted_decoder, decoder_folder, vllm_model  # noqa: F401  # fixtures
from modelyard.runtimes.base import GenerativeModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.runtimes.generative.conversion import lay_beside
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.gguf_source import GgufSource
from modelyard.runtimes.generative.text import TextCodec
from modelyard.runtimes.generative.weights import read_config
from modelyard.runtimes.vllm import Server, VllmModel
from modelyard.testing.generation_contract import GenerationContract
from modelyard.testing.language_model import RepeatingModel
from modelyard.testing.over_socket import SocketGenerativeModel


class TestRepeatingModel(GenerationContract):
    samples = grammars = False

    @pytest.fixture
    def model(self) -> Iterator[GenerativeModel]:
        model = RepeatingModel(step_s=0.001, context_length=256)
        yield model
        model.close()


class TestRepeatingModelInAReplica(GenerationContract):
    """Its answers leave by the replica's loop, or by the model's own thread after each step."""

    samples = grammars = False

    @pytest.fixture(params=["by_the_loop", "by_the_step"])
    def model(self, request: pytest.FixtureRequest) -> Iterator[GenerativeModel]:
        inner = RepeatingModel(step_s=0.001, context_length=256, tells_steps=request.param == "by_the_step")
        model = SocketGenerativeModel(inner)
        yield model
        model.close()


class TestOpenVino(GenerationContract):
    @pytest.fixture
    def model(self, converted_decoder: Path) -> Iterator[GenerativeModel]:  # noqa: F811
        model = RUNTIMES.get("openvino").load(converted_decoder, "openvino_model.xml", LoadOptions(threads=1))
        assert isinstance(model, GenerativeModel)
        yield model
        model.close()


@pytest.fixture(scope="module")
def gguf_file(decoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """As llama.cpp keeps it, its tokenizer read out of the file."""
    folder = tmp_path_factory.mktemp("gguf")
    path = folder / "model.gguf"
    write_gguf(decoder_folder, read_config(decoder_folder), path, Precision.F16, tokenizer=True)
    lay_beside(GgufSource(path), folder, folder)
    return path


class TestLlamaCpp(GenerationContract):
    @pytest.fixture
    def model(self, gguf_file: Path) -> Iterator[GenerativeModel]:
        model = RUNTIMES.get("llama_cpp").load(gguf_file.parent, gguf_file.name, LoadOptions(threads=1))
        assert isinstance(model, GenerativeModel)
        yield model
        model.close()


class TestTransformers(GenerationContract):
    @pytest.fixture
    def model(self, decoder_folder: Path) -> Iterator[GenerativeModel]:  # noqa: F811
        model = RUNTIMES.get("transformers").load(decoder_folder, "config.json", LoadOptions(threads=1))
        assert isinstance(model, GenerativeModel)
        yield model
        model.close()


class KeptServer:
    """A server that outlives its models, because it takes seconds to start."""

    def __init__(self, server: Server) -> None:
        self.client = server.client

    def stop(self) -> None:
        pass


@pytest.fixture(scope="module")
def server(vllm_model: tuple[Path, Path]) -> Iterator[Server]:  # noqa: F811
    folder, program = vllm_model
    server = Server(str(program), folder, {})
    server.wait(60)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def real_server(decoder_folder: Path) -> Iterator[Server]:  # noqa: F811
    """vLLM itself, where VLLM_PROGRAM names one; ``modelyard install vllm --device cpu`` makes one."""
    program = os.environ.get("VLLM_PROGRAM") or pytest.skip("there is no vLLM here: VLLM_PROGRAM names none")
    server = Server(program, decoder_folder, {"max-model-len": 256, "dtype": "float32", "enforce-eager": True})
    server.wait(600)
    yield server
    server.stop()


class TestVllm(GenerationContract):
    @pytest.fixture
    def model(self, real_server: Server, decoder_folder: Path) -> Iterator[GenerativeModel]:  # noqa: F811
        model = VllmModel(TextCodec(decoder_folder, 1024), 256, KeptServer(real_server))
        yield model
        model.close()


class TestVllmShaped(GenerationContract):
    """Our side of vLLM's contract, against a stand-in that speaks it."""

    @pytest.fixture
    def model(self, server: Server, vllm_model: tuple[Path, Path]) -> Iterator[GenerativeModel]:  # noqa: F811
        model = VllmModel(TextCodec(vllm_model[0], 1024), 256, KeptServer(server))
        yield model
        model.close()
