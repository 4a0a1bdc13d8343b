"""A language model from a folder to official clients: pushed, converted in confinement, served by a replica process, metered."""

from __future__ import annotations

import time
from pathlib import Path

import openai
import pytest

from language import decoder_folder  # noqa: F401  # a fixture
from modelyard.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    with running_platform(tmp_path_factory.mktemp("language") / "home", workers=1) as running:
        yield running


@pytest.mark.timeout(300)
def test_a_folder_becomes_a_chat(platform: RunningPlatform, decoder_folder: Path) -> None:  # noqa: F811
    shown = platform.run("push", str(decoder_folder), "--name", "words").stdout
    assert "a language model (LlamaForCausalLM)" in shown
    version = platform.json("show", "words")
    assert version["report"]["import"]["proof"]["agreement"] >= 0.98
    platform.run("deploy", "words@1")
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=platform.admin_key, max_retries=8) as client:
        stream = client.chat.completions.create(
            model="words",
            messages=[{"role": "user", "content": "Say something."}],
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert chunks[-1].usage.completion_tokens == 8
        with pytest.raises(openai.BadRequestError, match="does not turn texts into vectors"):
            client.embeddings.create(model="words", input="a")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        rows = platform.json("usage", "--by", "deployment")
        if any(row.get("tokens_out") == 8 for row in rows):
            break
        time.sleep(0.2)
    else:
        pytest.fail(f"the ledger does not know the tokens: {rows}")
