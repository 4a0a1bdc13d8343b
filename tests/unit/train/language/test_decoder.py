import numpy as np
import pytest
import torch

from modelyard.core.errors import InvalidData
from modelyard.datasets.corpus import Document
from modelyard.evaluation.intervals import language_intervals
from modelyard.evaluation.metrics import language_metrics
from modelyard.train.language.decoder import LanguageModel
from modelyard.train.language.export import save_folder
from modelyard.train.language.sampling import real_words, sample
from modelyard.train.language.stream import NextToken, Windows, write_stream
from modelyard.train.language.tokenizer import END_ID, learn_tokenizer, rendered
from modelyard.train.recipes.language import LanguageModelRecipe, Samples

TEXTS = ["The yard is where models are kept.", "A model answers calls; a yard keeps models.", "Größe: 3 µm, 30 % – “quoted”."]


def made(**network):
    recipe = LanguageModelRecipe.model_validate(
        {"kind": "language_model", "network": {"hidden": 32, "layers": 2, "heads": 4, "context": 64} | network, "window": 16}
    )
    tokenizer = learn_tokenizer(TEXTS, 280)
    torch.manual_seed(1)
    return recipe, tokenizer, LanguageModel(recipe.network, tokenizer.get_vocab_size()).eval()


@pytest.mark.parametrize("network", [{"key_heads": 2}, {"tied": False, "rope_base": 500.0, "feed_forward": 40}], ids=["shared", "untied"])
def test_transformers_loads_what_was_trained_and_gives_the_same_scores(tmp_path, network):
    transformers = pytest.importorskip("transformers")
    recipe, tokenizer, module = made(**network)
    save_folder(module, tokenizer, recipe, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.randint(0, tokenizer.get_vocab_size(), (3, 40))
    with torch.no_grad():
        torch.testing.assert_close(module(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    said = loaded.apply_chat_template([{"role": "user", "content": "Who?"}], tokenize=False)
    assert said == rendered(Document("", "", (("user", "Who?"),)))


def test_a_token_is_predicted_from_those_before_it_alone():
    _, tokenizer, module = made()
    tokens = torch.randint(0, tokenizer.get_vocab_size(), (1, 20))
    other = tokens.clone()
    other[0, 12:] = (other[0, 12:] + 1) % tokenizer.get_vocab_size()
    with torch.no_grad():
        torch.testing.assert_close(module(tokens)[:, :12], module(other)[:, :12])
        assert not torch.allclose(module(tokens)[:, 12:], module(other)[:, 12:])


def test_windows_cover_the_stream_once_and_are_shifted_while_learning(tmp_path):
    _, tokenizer, _ = made()
    documents = [Document("", text) for text in TEXTS]
    stream = write_stream(documents, tokenizer, tmp_path / "stream")
    assert tokenizer.decode(stream.tolist(), skip_special_tokens=False) == "".join(f"{text}<|end|>" for text in TEXTS)
    windows = Windows(stream, 8, "learn from")
    (inputs,), targets = windows.batch(np.arange(len(windows)), None)
    assert targets.flatten().tolist() == stream[1 : 8 * len(windows) + 1].tolist()
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    shifts = set()
    for seed in range(20):
        (inputs,), targets = windows.batch(np.arange(len(windows)), torch.Generator().manual_seed(seed))
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        shifts.add(tuple(inputs[0].tolist()))
    assert len(shifts) > 3
    with pytest.raises(InvalidData, match="The text to learn from has 8 tokens, fewer than a window of 8"):
        Windows(stream[:8], 8, "learn from")


def test_the_objective_is_a_mean_in_nats_for_each_row():
    _, tokenizer, module = made()
    size = tokenizer.get_vocab_size()
    targets = torch.randint(0, size, (3, 10))
    outputs = torch.zeros(3, 10, size)
    assert NextToken().losses(outputs, targets).tolist() == pytest.approx([np.log(size)] * 3)
    outputs.scatter_(2, targets[:, :, None], 50.0)
    assert NextToken().score(outputs, targets) == 3.0
    assert module(targets).shape == (3, 10, size)


def test_sampling_repeats_and_ends_where_a_text_ends():
    _, _, module = made()
    wanted = Samples(tokens=12, temperature=1.0)
    first = sample(module, [[5, 6], [7]], wanted, 64, seed=3)
    assert first == sample(module, [[5, 6], [7]], wanted, 64, seed=3)
    assert first != sample(module, [[5, 6], [7]], wanted, 64, seed=4)

    class Ending(torch.nn.Module):
        def forward(self, tokens):
            scores = torch.zeros(1, tokens.shape[1], 9)
            scores[..., END_ID if tokens.shape[1] > 3 else 4] = 99.0
            return scores

    assert sample(Ending(), [[1, 1]], Samples(temperature=0.0), 64, seed=0) == [[4, 4]]


def test_words_are_real_when_the_corpus_has_them():
    assert real_words(["The model sprgl", "Yard 42 a"], TEXTS) == pytest.approx(3 / 4)
    assert real_words(["1 2 3"], TEXTS) is None


def test_perplexity_has_an_interval_around_it():
    random = np.random.default_rng(0)
    nats = random.normal(2.0, 0.3, size=200) * 16
    found = language_metrics(float(nats.sum()) / (200 * 16), 4.0)
    assert found["perplexity"] == pytest.approx(np.exp(found["nats_per_token"]))
    assert found["bits_per_byte"] == pytest.approx(found["nats_per_token"] / np.log(2) / 4)
    intervals = language_intervals(nats, np.full(200, 16.0), 4.0)
    for name, value in found.items():
        assert intervals[name]["low"] < value < intervals[name]["high"]
    assert intervals["perplexity"]["high"] / intervals["perplexity"]["low"] < 1.15
