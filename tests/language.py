"""A small decoder, made and converted once for a whole test run."""

from __future__ import annotations

import shutil
import sys
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


@pytest.fixture(scope="session")
def vllm_model(decoder_folder: Path, converted_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder for vLLM, and the program that stands in for it."""
    place = tmp_path_factory.mktemp("vllm")
    shutil.copytree(decoder_folder, place / "decoder")
    (place / "converted").symlink_to(converted_decoder)
    program = place / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests" / "servers" / "vllm_shaped.py"}" "$@"\n')
    program.chmod(0o755)
    return place / "decoder", program
