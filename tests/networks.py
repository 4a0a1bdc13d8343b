"""Small networks for tests, as people save them: PyTorch, Keras, Hugging Face encoders. Made once a process."""

from __future__ import annotations

import functools
import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

HERE = Path(__file__).parent
MODULE = (HERE / "reader_network.py").read_bytes()
DECIDING = (HERE / "deciding_network.py").read_bytes()


@functools.cache
def deciding():
    import torch

    import deciding_network

    torch.manual_seed(5)
    return deciding_network.Deciding().eval()


@functools.cache
def reader():
    import torch

    import reader_network

    torch.manual_seed(5)
    return reader_network.Reader().eval()


def sequences(rows: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(rows + tokens).normal(size=(rows, tokens, 4)).astype(np.float32)


def read(rows: np.ndarray) -> np.ndarray:
    """What the reader gives."""
    return _run(reader(), rows)


def _run(network, rows: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(rows)).numpy()


@functools.cache
def exported() -> bytes:
    """A ``torch.export`` archive with rows and length left open."""
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
        program = torch.export.export(reader(), (torch.from_numpy(sequences(3, 5)),), dynamic_shapes=(free,))
        torch.export.save(program, stream)
    return stream.getvalue()


@functools.cache
def slider():
    """What the exporter of TorchScript can follow: it knows fewer operators."""
    import torch

    import reader_network

    torch.manual_seed(6)

    return reader_network.Slider().eval()


def slid(rows: np.ndarray) -> np.ndarray:
    return _run(slider(), rows)


def decided(rows: np.ndarray) -> np.ndarray:
    return _run(deciding(), rows)


@functools.cache
def scripted() -> bytes:
    """TorchScript."""
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(slider()), stream)
    return stream.getvalue()


def weights(network) -> bytes:
    from safetensors.torch import save

    return save(network.state_dict())


@functools.cache
def keras_model():
    """Two inputs, one of them a sequence of any length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        keras.utils.set_random_seed(3)
        steps, facts = keras.Input((None, 4), name="steps"), keras.Input((3,), name="facts")
        joined = keras.layers.Concatenate()(
            [keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(6, 3, padding="same")(steps)), facts]
        )
        return keras.Model([steps, facts], keras.layers.Dense(2, activation="softmax")(joined))


@functools.cache
def keras_unsayable():
    """Computes in the frequency domain, which exporters to ONNX do not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        wave = keras.Input((16,), name="wave")
        real, _ = keras.ops.fft((wave, keras.ops.zeros_like(wave)))
        return keras.Model(wave, keras.ops.expand_dims(keras.ops.max(real, axis=-1), -1))


def keras_answer(model, *given: np.ndarray) -> np.ndarray:
    return model(given[0] if len(given) == 1 else list(given), training=False).detach().numpy()


def keras_file(model) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


TEXTS = (
    "the model reads a sentence about birds and weather",
    "anna writes notes in paris",
    "rain falls on the roof of the house",
    "a bird sings in the morning",
)


@functools.cache
def _tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    # Written down, not trained: where pieces are equally frequent, training chooses differently in every process.
    words = sorted({word for text in TEXTS for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    whole = [word for word in words if len(word) > 1]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *[f"##{letter}" for letter in letters], *whole]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def encoder(folder: Path, task: str, architecture: str = "bert") -> dict[str, bytes]:
    """A tiny random encoder with a tokenizer trained on a few texts, as ``save_pretrained`` writes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        torch.manual_seed(11)
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=_tokenizer(), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=48
        )
        sizes = {"vocab_size": fast.vocab_size, "max_position_embeddings": 64, "pad_token_id": 0}
        labels = {"classify": ["bird", "weather", "other"], "tag": ["O", "B-PER", "I-PER"], "rerank": ["score"]}.get(task)
        if labels:
            sizes |= {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
        if architecture == "distilbert":
            config = transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, **sizes)
        else:
            kind = transformers.RobertaConfig if architecture == "roberta" else transformers.BertConfig
            config = kind(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, **sizes)
        head = {"embed": "AutoModel", "tag": "AutoModelForTokenClassification"}.get(task, "AutoModelForSequenceClassification")
        network = getattr(transformers, head).from_config(config).eval()
        network.save_pretrained(folder)
        fast.save_pretrained(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encoded(folder: Path, task: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What transformers gives, one text at a time."""
    import torch
    import transformers

    head = {"embed": "AutoModel", "tag": "AutoModelForTokenClassification"}.get(task, "AutoModelForSequenceClassification")
    network = getattr(transformers, head).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    names = ["query", "text"] if task == "rerank" else ["text"]
    found, counts = [], []
    for row in zip(*(inputs[name].tolist() for name in names), strict=True):
        given = tokenizer(*([text] for text in row), truncation=True, max_length=48, return_tensors="pt")
        with torch.no_grad():
            found.append(network(**given)[0][0].numpy())
        counts.append(given["input_ids"].shape[1])
    tokens = {"tokens": np.array(counts)}
    if task == "embed":
        return tokens | {"embedding": np.stack([item.mean(axis=0) for item in found])}
    if task == "classify":
        return tokens | {"label": np.array(["bird", "weather", "other"])[np.stack(found).argmax(axis=1)]}
    return tokens | ({"score": 1 / (1 + np.exp(-np.concatenate(found)))} if task == "rerank" else {})
