import json
import zipfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData
from modelyard.datasets.corpus import Corpus, Document, read_corpus

LINES = [
    {"text": "A line of running text."},
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody."}]},
    {"prompt": "What?", "completion": "Nothing."},
    {"text": "A line of running text."},
]


@pytest.fixture
def archive(tmp_path):
    place = tmp_path / "texts.zip"
    with zipfile.ZipFile(place, "w") as made:
        made.writestr("b/lines.jsonl", "\n".join(json.dumps(line) for line in LINES) + "\n\n")
        made.writestr("a.txt", "\ufeffFirst paragraph.\r\n\r\nSecond.".encode())
        made.writestr("latin.txt", "Größe".encode("cp1252"))
        made.writestr("picture.png", b"\x89PNG")
        made.writestr("empty.md", " \n")
    return place


def test_a_folder_of_texts_and_lines_gives_each_document_once(archive):
    corpus = read_corpus(archive, "texts.zip")
    assert [document.content for document in corpus.documents] == [
        "First paragraph.\n\nSecond.",
        "A line of running text.",
        "Who?\nNobody.",
        "What?\nNothing.",
    ]
    assert corpus.duplicates == 1
    assert corpus.unreadable == {"latin.txt": "it is no UTF-8 (byte 2)"}
    assert corpus.documents[3].turns == (("user", "What?"), ("assistant", "Nothing."))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", r"t.jsonl, line 2: this is no JSON .*; write one object a line"),
        ("[1]", "line 2: this is no object"),
        ('{"words": "a"}', "line 2: an object needs 'text', 'messages'"),
        ('{"messages": [{"role": "user"}]}', "line 2: an object needs"),
        ('{"messages": []}', "line 2: an object needs"),
        ('{"prompt": 1, "completion": "a"}', "line 2: an object needs"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path, line, message):
    place = tmp_path / "t.jsonl"
    place.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(InvalidData, match=message):
        read_corpus(place, "t.jsonl")


def test_what_holds_no_text_is_refused_with_its_reason(tmp_path):
    place = tmp_path / "t.txt"
    place.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InvalidData, match=r"t.txt holds no text \(t.txt: it is no UTF-8 \(byte 0\)\)"):
        read_corpus(place, "t.txt")
    place.write_text("too short")
    with pytest.raises(InvalidData, match="too short to hold a part of it out"):
        read_corpus(place, "t.txt").split(0.1, 0.1, 0)


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="ab \n", min_size=1, max_size=60), min_size=1, max_size=25), st.integers(0, 99))
def test_a_split_loses_and_doubles_nothing(texts, seed):
    corpus = Corpus(tuple(Document(f"{at}", f"{at}: {text * 99}") for at, text in enumerate(texts)), 0, {})
    try:
        parts = corpus.split(0.2, 0.2, seed)
    except InvalidData:
        assert len(texts) < 20
        return
    assert all(parts)
    found = [document for part in parts for document in part]
    assert len({document.name for document in found}) == len(found)
    letters = Counter("".join("".join(document.text.split()) for document in found))
    assert letters == Counter("".join("".join(document.text.split()) for document in corpus.documents))
    assert parts == corpus.split(0.2, 0.2, seed)
