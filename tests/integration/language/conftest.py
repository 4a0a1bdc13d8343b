"""The official client of what a test module serves as ``live``."""

import openai
import pytest

from integration.language.live_language import KEY, LiveLanguage
from language import converted_decoder, decoder_folder  # noqa: F401  # fixtures
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.openvino import RUNTIME


@pytest.fixture(scope="module")
def live(converted_decoder, tmp_path_factory):  # noqa: F811
    """A small decoder with random weights, unless the module serves something else."""
    model = RUNTIME.load(converted_decoder, "openvino_model.xml", LoadOptions(threads=1))
    with LiveLanguage(tmp_path_factory.mktemp("live"), model) as live:
        yield live


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client
