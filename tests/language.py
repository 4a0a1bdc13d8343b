"""A small decoder, made and converted once for a whole test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.runtimes.generative.conversion import convert_decoder
from modelyard.testing.decoders import write_decoder

ROOT = Path(__file__).parent.parent
TEXTS = (ROOT / "LICENSE", ROOT / "README.md", ROOT / "docs" / "quickstart.md")


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Hugging Face would save it."""
    folder = tmp_path_factory.mktemp("decoder")
    write_decoder(folder, [path.read_text() for path in TEXTS])
    return folder


@pytest.fixture(scope="session")
def converted_decoder(decoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it is served."""
    target = tmp_path_factory.mktemp("converted")
    convert_decoder(decoder_folder, target)
    return target
