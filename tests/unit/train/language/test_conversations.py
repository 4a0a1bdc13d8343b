import json

import numpy as np
import pytest
import torch

from modelyard.core.errors import InvalidRequest
from modelyard.datasets.corpus import Document
from modelyard.train.language.conversations import NOTHING, LearnedTokens, rows_of
from modelyard.train.language.tokenizer import learn_tokenizer, save_tokenizer
from modelyard.train.recipes.parse import parse_recipe

TALK = Document("", "", (("user", "Who are you?"), ("assistant", "A yard."), ("user", "Why?"), ("assistant", "Models.")))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(learn_tokenizer(["Who are you? A yard. Why? Models."], 270), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return transformers.AutoTokenizer.from_pretrained(folder)


def learned(rows, tokenizer, row=0):
    (_,), targets = rows.batch(np.array([row]), None)
    return tokenizer.decode([number for number in targets[0].tolist() if number != NOTHING])


def test_of_a_conversation_the_answers_and_their_ends_are_learned(tokenizer):
    rows = rows_of([TALK], tokenizer, 200, answers=True)
    assert learned(rows, tokenizer) == "A yard.<|over|>\nModels.<|over|>\n"
    (tokens,), targets = rows.batch(np.array([0]), None)
    wanted = targets[0] != NOTHING
    assert torch.equal(targets[0, :-1][wanted[:-1]], tokens[0, 1:][wanted[:-1]])
    assert rows.learned == int(wanted.sum())


def test_all_of_it_is_learned_where_the_recipe_says_so(tokenizer):
    rows = rows_of([TALK], tokenizer, 200, answers=False)
    assert learned(rows, tokenizer).endswith("assistant\nA yard.<|over|>\n<|turn|>user\nWhy?<|over|>\n<|turn|>assistant\nModels.<|over|>\n")


def test_long_texts_are_several_rows_and_answers_beyond_the_window_are_left_out(tokenizer):
    text = "A yard. " * 30
    rows = rows_of([Document("", text)], tokenizer, 16, answers=True)
    assert len(rows) > 1
    assert "".join(learned(rows, tokenizer, at) for at in range(len(rows))).replace("<|over|>", "")[-20:] == text[-20:]
    assert len(rows_of([TALK], tokenizer, 8, answers=True)) == 0


def test_a_row_counts_by_its_learned_tokens():
    targets = torch.tensor([[NOTHING, 1, 2], [NOTHING, NOTHING, 0]])
    outputs = torch.zeros(2, 3, 4)
    assert LearnedTokens().losses(outputs, targets).tolist() == pytest.approx([np.log(4)] * 2)
    outputs[0, 1, 1] = outputs[1, 2, 0] = 9.0
    assert LearnedTokens().score(outputs, targets) == pytest.approx(0.5 + 1.0)


def test_an_adapter_needs_a_base_and_is_not_sharded():
    with pytest.raises(InvalidRequest, match="lacks the field 'base'"):
        parse_recipe({"kind": "adapter"})
    with pytest.raises(InvalidRequest, match="beside a whole base"):
        parse_recipe({"kind": "adapter", "base": "a@1", "learning": {"sharded": True, "workers": 2}})
