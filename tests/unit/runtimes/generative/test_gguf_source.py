"""GGUF files read back: weights, configuration, tokenizer."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from language import decoder_folder  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.runtimes.generative.conversion import convert_gguf
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.gguf_source import GgufSource, GgufWeights
from modelyard.runtimes.generative.gguf_tokenizer import write_tokenizer
from modelyard.runtimes.generative.weights import Weights, read_config


@pytest.fixture(scope="module")
def file(decoder_folder, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("gguf") / "words.gguf"
    write_gguf(decoder_folder, read_config(decoder_folder), path, Precision.F16, tokenizer=True)
    return path


def test_configuration_and_weights_come_back(decoder_folder, file):  # noqa: F811
    config, source = read_config(decoder_folder), GgufSource(file)
    found = source.config()
    assert found == config or (found.tied, found.epsilon) == (config.tied, pytest.approx(config.epsilon))
    mine, theirs = Weights(decoder_folder), GgufWeights(source, found)
    for name in mine:
        shape = theirs.get(name, mine.get(name, _shape(decoder_folder, name)).shape).shape
        np.testing.assert_allclose(theirs.get(name, shape), mine.get(name, shape), atol=2e-3, rtol=2e-3)


def _shape(folder, name):
    from safetensors import safe_open

    with safe_open(next(folder.glob("*.safetensors")), framework="numpy") as file:
        return tuple(file.get_slice(name).get_shape())


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_texts_are_cut_as_the_original_cuts_them(decoder_folder, file, tmp_path_factory, text):  # noqa: F811
    made = tmp_path_factory.getbasetemp() / "tokenizer-of-gguf"
    if not made.exists():
        made.mkdir()
        write_tokenizer(GgufSource(file), made)
    own, theirs = Tokenizer.from_file(str(made / "tokenizer.json")), Tokenizer.from_file(str(decoder_folder / "tokenizer.json"))
    assert own.encode(text).ids == theirs.encode(text).ids
    assert own.decode(own.encode(text).ids) == theirs.decode(theirs.encode(text).ids)


def test_a_file_is_converted_and_proven_against_its_own_weights(file, tmp_path):
    proof = convert_gguf(file, tmp_path)
    assert proof.agreement >= 0.98
    names = {path.name for path in tmp_path.iterdir()}
    assert {"openvino_model.xml", "tokenizer.json", "chat_template.jinja", "config.json", "generation_config.json"} <= names


@pytest.mark.parametrize(("precision", "bits", "off"), [(Precision.Q8, 8.5, 0.005), (Precision.Q5, 5.5, 0.04), (Precision.Q4, 4.5, 0.08)])
def test_coarse_weights_stay_as_they_are(decoder_folder, tmp_path, precision, bits, off):  # noqa: F811
    path, config = tmp_path / "coarse.gguf", read_config(decoder_folder)
    write_gguf(decoder_folder, config, path, precision, tokenizer=True)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    inner = tensors["blk.0.ffn_up.weight"]
    assert 8 * inner.n_bytes / inner.n_elements == bits
    assert tensors["token_embd.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    mine, theirs = Weights(decoder_folder), GgufWeights(GgufSource(path), config)
    name, shape = "model.layers.0.mlp.up_proj.weight", (config.feed_forward, config.hidden)
    wanted, found = mine.get(name, shape), theirs.get(name, shape)
    assert np.abs(wanted - found).max() <= off * np.abs(wanted).max() * 1.5
    (tmp_path / "made").mkdir()
    if precision is Precision.Q5:
        with pytest.raises(InvalidArtifact, match=r"its weights are q5_0, and OpenVINO reads .*--format llama_cpp"):
            convert_gguf(path, tmp_path / "made")
    else:
        assert convert_gguf(path, tmp_path / "made").agreement >= 0.95


def test_a_tokenizer_beside_the_file_goes_before_its_own(decoder_folder, file, tmp_path):  # noqa: F811
    for path in (file, decoder_folder / "tokenizer.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "made").mkdir()
    convert_gguf(tmp_path / file.name, tmp_path / "made")
    assert (tmp_path / "made" / "tokenizer.json").read_bytes() == (decoder_folder / "tokenizer.json").read_bytes()
    assert not (tmp_path / "made" / "chat_template.jinja").exists()


PIECES = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "c", "ab", "\u2581ab", "abc", "<0xC3>", "<0xA9>"]


def pieces_file(path, **more):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(more.get("model", "llama"))
    writer.add_token_list(PIECES)
    writer.add_token_scores([0.0, 0.0, 0.0, -1.0, -9.0, -9.0, -9.0, -2.0, -3.0, -4.0, -9.0, -9.0])
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 6, 6])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_tensor("token_embd.weight", np.zeros((len(PIECES), 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufSource(path)


def test_pieces_with_scores_are_merged_by_score(tmp_path):
    write_tokenizer(pieces_file(tmp_path / "p.gguf"), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("ab").tokens == ["<s>", "\u2581ab"]
    assert tokenizer.encode("ab abc").tokens == ["<s>", "\u2581ab", "\u2581ab", "c"]
    assert tokenizer.encode("é", add_special_tokens=False).tokens == ["\u2581", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("ab é c").ids) == "ab é c"


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(InvalidArtifact, match="cannot be read as GGUF"):
        GgufSource(tmp_path / "broken.gguf")
    with pytest.raises(Unsupported, match="'wordpiece'"):
        write_tokenizer(pieces_file(tmp_path / "w.gguf", model="wordpiece"), tmp_path)
    with pytest.raises(InvalidArtifact, match="does not say enough"):
        pieces_file(tmp_path / "p.gguf").config()
