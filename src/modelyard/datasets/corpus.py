"""Text to learn a language from: files of running text, lines of JSON, or a folder of both."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.split import hold_out

Turns = tuple[tuple[str, str], ...]
"""(role, content) of each message."""
_LINES = (".jsonl", ".ndjson")
_TEXTS = (".txt", ".md", ".rst", ".text")
_MOST_TOLD = 20
_FEW, _PASSAGE = 20, 4_000
_PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Document:
    """One text, or one conversation."""

    name: str
    text: str
    turns: Turns = ()

    @property
    def content(self) -> str:
        """All its words."""
        return self.text or "\n".join(content for _, content in self.turns)


@dataclass(frozen=True)
class Corpus:
    """Documents, each once."""

    documents: tuple[Document, ...]
    duplicates: int
    """Documents that were there more than once, counted without the first."""
    unreadable: Mapping[str, str]
    """File → why it was left out."""

    def split(self, test_size: float, validation_size: float, seed: int) -> tuple[list[Document], list[Document], list[Document]]:
        """What is learned from, what epochs are chosen by, and what is held out.

        By document; where there are few, by passage. Raises InvalidData when there is too little to split.
        """
        documents = list(self.documents) if len(self.documents) >= _FEW else [part for one in self.documents for part in _passages(one)]
        if len(documents) < 3:
            raise InvalidData("The text is too short to hold a part of it out; bring some pages at least.")
        learned, test = hold_out(len(documents), test_size, seed, None)
        train, validate = hold_out(len(learned), validation_size, seed + 1, None)
        return _picked(documents, learned[train]), _picked(documents, learned[validate]), _picked(documents, test)


def read_corpus(path: Path, name: str) -> Corpus:
    """The documents in a text file, a file with a JSON object a line, or an archive of such files.

    An object has ``text``; or ``messages``, a list of ``{"role", "content"}``; or ``prompt`` and ``completion``. Raises InvalidData.
    """
    unreadable: dict[str, str] = {}
    seen: dict[bytes, Document] = {}
    count = 0
    for document in _documents(path, name, unreadable):
        if document.content.strip():
            count += 1
            seen.setdefault(hashlib.sha256(document.content.encode()).digest(), document)
    if not seen:
        told = "; ".join(f"{file}: {reason}" for file, reason in list(unreadable.items())[:3])
        raise InvalidData(f"{name} holds no text{f' ({told})' if told else ''}; give .txt or .jsonl files in UTF-8, or a folder of them.")
    return Corpus(tuple(seen.values()), count - len(seen), unreadable)


def _documents(path: Path, name: str, unreadable: dict[str, str]) -> Iterator[Document]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if member.lower().endswith(_TEXTS + _LINES):
                    yield from _file(archive.read(member), member, unreadable)
        return
    yield from _file(path.read_bytes(), name, unreadable)


def _file(content: bytes, name: str, unreadable: dict[str, str]) -> Iterator[Document]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(unreadable) < _MOST_TOLD:
            unreadable[name] = f"it is no UTF-8 (byte {error.start})"
        return
    if not name.lower().endswith(_LINES):
        yield Document(name, text.replace("\r\n", "\n"))
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _object(line, f"{name}, line {number}")


def _object(line: str, place: str) -> Document:
    try:
        found: Any = json.loads(line)
    except ValueError as error:
        raise InvalidData(f"{place}: this is no JSON ({error}); write one object a line.") from None
    if not isinstance(found, dict):
        raise InvalidData(f'{place}: this is no object; write {{"text": …}} or {{"messages": [{{"role": …, "content": …}}]}}.')
    if isinstance(found.get("text"), str):
        return Document(place, found["text"])
    messages = found.get("messages")
    if messages is None and "prompt" in found and "completion" in found:
        messages = [{"role": "user", "content": found["prompt"]}, {"role": "assistant", "content": found["completion"]}]
    return Document(place, "", _turns(messages, place))


def _turns(messages: Any, place: str) -> Turns:
    fits = isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str) for one in messages
    )
    if not fits or not messages:
        raise InvalidData(f"{place}: an object needs 'text', 'messages' with a role and a content each, or 'prompt' and 'completion'.")
    return tuple((one["role"], one["content"]) for one in messages)


def _passages(document: Document) -> list[Document]:
    """A text cut at ends of paragraphs into pieces of a few thousand characters."""
    if document.turns:
        return [document]
    pieces, begun = [], 0
    for gap in _PARAGRAPH.finditer(document.text):
        if gap.end() - begun >= _PASSAGE:
            pieces.append(document.text[begun : gap.end()])
            begun = gap.end()
    pieces.append(document.text[begun:])
    return [Document(f"{document.name}, part {at + 1}", piece) for at, piece in enumerate(pieces) if piece.strip()]


def _picked(documents: list[Document], rows: NDArray[np.intp]) -> list[Document]:
    return [documents[row] for row in rows]
