"""Writes English text that every machine with Python has to a folder, to learn a language from: ``python examples/local_texts.py FOLDER``.

Python's own manual and the docstrings of its standard library (PSF licence), the descriptions of scikit-learn's data sets (BSD), and the
licence texts of the system. Conversations are made of them: a question for each topic, module, class and function, answered by how its
text begins.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

LICENCES = Path("/usr/share/common-licenses")
ANSWER = 600
"""Most characters of an answer."""
SHORTEST = 60
Pair = tuple[str, str]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=0, help="at most so many texts, for a quick try")
    arguments = parser.parse_args()
    texts, pairs = [], []
    for name, question, text in (*manual(), *library(), *descriptions(), *licences()):
        if len(text) >= SHORTEST:
            texts.append((name, text))
            if question:
                pairs.append((question, beginning(text)))
    step = max(1, len(texts) // arguments.most) if arguments.most else 1
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "texts.jsonl", [{"text": text} for _, text in texts[::step]])
    write(folder / "talk.jsonl", [{"prompt": question, "completion": answer} for question, answer in pairs[::step]])
    count = sum(len(text) for _, text in texts[::step])
    sys.stdout.write(f"{len(texts[::step])} texts of {count:,} characters, {len(pairs[::step])} conversations in {folder}\n")


def manual() -> Iterator[tuple[str, str, str]]:
    """Python's reference, topic by topic, without headings."""
    for topic, text in sorted(topics.items()):
        lines = [line for line in text.splitlines() if not line or line.strip(line[0]) or line[0].isalnum()]
        yield topic, f"What is {topic.lower().replace('-', ' ')}?", "\n".join(lines[1:]).strip()


def library() -> Iterator[tuple[str, str, str]]:
    """Docstrings of the standard library, read from its source; nothing is imported."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if {"test", "tests", "site-packages", "idlelib", "lib2to3", "dist-packages"} & set(place.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        yield from documented(tree, module)


def documented(tree: ast.Module, module: str) -> Iterator[tuple[str, str, str]]:
    """The docstrings of a module, its classes and functions."""
    yield module, f"What is the module {module}?", inspect.cleandoc(ast.get_docstring(tree) or "")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            what = "class" if isinstance(node, ast.ClassDef) else "function"
            yield f"{module}.{node.name}", f"What is the {what} {node.name}?", inspect.cleandoc(ast.get_docstring(node) or "")


def descriptions() -> Iterator[tuple[str, str, str]]:
    """Of scikit-learn's data sets, where it is installed."""
    folder = next((Path(entry) / "sklearn/datasets/descr" for entry in sys.path if (Path(entry) / "sklearn/datasets/descr").is_dir()), None)
    for path in sorted(folder.glob("*.rst")) if folder else ():
        yield path.stem, f"What is the data set {path.stem.replace('_', ' ')}?", path.read_text(encoding="utf-8").strip()


def licences() -> Iterator[tuple[str, str, str]]:
    """Each once, though some have several names."""
    for path in sorted({path.resolve() for path in LICENCES.glob("*")} if LICENCES.is_dir() else ()):
        yield path.name, "", path.read_text(encoding="utf-8", errors="replace").strip()


def beginning(text: str) -> str:
    """Whole paragraphs or sentences, up to the length of an answer."""
    if len(text) <= ANSWER:
        return text
    cut = text[:ANSWER]
    end = max(cut.rfind("\n\n"), cut.rfind(". ") + 1, cut.rfind(".\n") + 1)
    return cut[:end].strip() if end > SHORTEST else cut


def write(place: Path, objects: list[dict[str, str]]) -> None:
    """One a line."""
    place.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects), encoding="utf-8")


if __name__ == "__main__":
    main()
