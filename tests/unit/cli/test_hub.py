"""Models fetched from a hub by id, with the hub's own client, from a server in its form."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modelyard.cli.hub import brought
from modelyard.core.errors import InvalidRequest
from servers.hub import COMMIT, Hub

SCRIPT = """
import sys
from modelyard.cli.hub import brought
from modelyard.core.errors import ModelyardError

try:
    with brought(sys.argv[1], lambda text, share: None) as found:
        print(found.path.name, sorted(found.tags.items()))
        print(sorted(str(file.relative_to(found.path)) for file in found.path.rglob("*") if file.is_file() and ".cache" not in file.parts))
except ModelyardError as error:
    print(type(error).__name__, error.message)
"""


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "words"
    place.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "README.md", "picture.png"):
        (place / name).write_text(name)
    return place


def fetched(hub, reference, tmp_path, **more):
    # The hub's client reads its settings when it is imported.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, reference], env=environment | more, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_is_fetched_without_what_is_pickled_or_of_no_use(folder, tmp_path):
    with Hub({"org/words": folder}) as hub:
        said, files = fetched(hub, "hf:org/words", tmp_path)
    assert said == f"words {[('hub', 'org/words'), ('hub_revision', COMMIT)]}"
    assert files == str(["README.md", "config.json", "model.safetensors", "tokenizer.json"])
    assert "pytorch_model.bin" not in hub.asked


def test_weights_that_are_only_there_as_pickles_come_along_and_are_judged_by_the_server(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with Hub({"org/words": folder}) as hub:
        _, files = fetched(hub, "hf:org/words@main", tmp_path)
    assert "pytorch_model.bin" in files


def test_what_cannot_be_fetched_is_said(folder, tmp_path):
    with Hub({"org/words": folder}, token="secret") as hub:
        (said,) = fetched(hub, "hf:org/words", tmp_path)
        assert said.startswith("NotFound The hub has no model 'org/words' that may be read")
        assert fetched(hub, "hf:org/words", tmp_path, HF_TOKEN="secret")[0].startswith("words")
        (said,) = fetched(hub, "hf:org/words@nothing", tmp_path, HF_TOKEN="secret")
        assert said.startswith("NotFound The hub has no model 'org/words' at 'nothing'")
        (said,) = fetched(hub, "hf:org/words", tmp_path, HF_HUB_OFFLINE="1")
        assert said.startswith("Unavailable")
    (said,) = fetched(hub, "hf:org/words", tmp_path)
    assert said.startswith("Unavailable")


@pytest.mark.parametrize("reference", ["hf:", "hf:a/b/c", "hf:../x", "hf:a b"])
def test_what_is_no_id_is_refused(reference):
    with pytest.raises(InvalidRequest, match="write it like"), brought(reference, lambda *_: None):
        pass


def test_a_path_is_itself(tmp_path):
    with brought(str(tmp_path), lambda *_: None) as found:
        assert found == (tmp_path, {})
