"""What is pushed, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidArtifact, InvalidData, InvalidRequest
from modelyard.core.models import NAME
from modelyard.sdk.files import FileToPush, collect, entry_of, model_name_for, open_data
from modelyard.sdk.settings import client_settings


@given(st.text(max_size=100))
def test_any_file_name_gives_a_model_name(stem: str) -> None:
    assert NAME.fullmatch(model_name_for(Path(stem.replace("/", "_").replace("\0", "_") + ".csv")))


def test_a_name_is_made_of_the_files() -> None:
    assert model_name_for(Path("x/Penguin Data.csv")) == "penguin-data"


def listed(*paths: str) -> list[FileToPush]:
    return [FileToPush(Path(path), path, 1) for path in paths]


def test_the_entry_is_the_only_model_or_the_one_called_model() -> None:
    assert entry_of(listed("a.bin")) == "a.bin"
    assert entry_of(listed("readme.txt", "a.onnx")) == "a.onnx"
    assert entry_of(listed("a.onnx", "model.onnx")) == "model.onnx"
    with pytest.raises(InvalidArtifact, match="not clear"):
        entry_of(listed("a.onnx", "b.onnx"))


def test_nothing_to_push_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match="holds no files"):
        collect(tmp_path)
    with pytest.raises(InvalidArtifact, match="no file or folder"):
        collect(tmp_path / "missing")
    with pytest.raises(InvalidData, match="no file"):
        open_data(tmp_path / "missing.csv")


def test_an_address_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_URL", "http://there:1/")
    monkeypatch.setenv("MODELYARD_KEY", " key\n")
    settings = client_settings(None, None)
    assert (settings.url, settings.key) == ("http://there:1", "key")
    with pytest.raises(InvalidRequest, match="http://"):
        client_settings("localhost:8080", None)


def test_a_link_out_of_the_folder_is_never_sent(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "same.onnx").symlink_to("model.onnx")
    assert [file.path for file in collect(folder)] == ["model.onnx", "same.onnx"]
    (folder / "weights.bin").symlink_to(secret)
    with pytest.raises(InvalidArtifact, match="leads out of the folder"):
        collect(folder)
    (folder / "weights.bin").unlink()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "deep.bin").write_bytes(b"x")
    (folder / "sub").symlink_to(outside)
    assert {file.path for file in collect(folder)} == {"model.onnx", "same.onnx"}  # folders behind links are not walked
