"""Classifiers of texts beside counted words, on held-out texts: ``python benchmarks/train/texts.py [--seeds 0,1] [--kinds bag,gru]``.

Three sets: the novels of the examples, and docstrings of Python's standard library, by package (the six with most) and by what they
document. Every kind of network learns by its defaults; counted words are a logistic regression of weighted words and pairs (scikit-learn).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from local_texts import library  # noqa: E402

from modelyard.train.networks.device import choose_device  # noqa: E402
from modelyard.train.networks.loop import Learner  # noqa: E402
from modelyard.train.networks.text_artifact import answers  # noqa: E402
from modelyard.train.networks.text_data import TextExamples, learn_tokens, pose_texts  # noqa: E402
from modelyard.train.networks.text_evaluation import rivals  # noqa: E402
from modelyard.train.networks.text_job import lesson_for  # noqa: E402
from modelyard.train.recipes.parse import parse_text_recipe  # noqa: E402

LONGEST = 400
PACKAGES, OF_EACH_PACKAGE, OF_EACH_KIND = 6, 150, 300


def sets(folder: Path) -> dict[str, tuple[Path, str]]:
    found = [(name, question, text[:LONGEST]) for name, question, text in library() if len(text) >= 60]
    random.Random(0).shuffle(found)
    packages: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for name, question, text in found:
        packages.setdefault(name.partition(".")[0], []).append(text)
        kinds.setdefault(question.split()[3], []).append(text)
    most = sorted(packages, key=lambda name: -len(packages[name]))[:PACKAGES]
    write(folder / "packages.csv", [(text, name) for name in most for text in packages[name][:OF_EACH_PACKAGE]])
    write(folder / "kinds.csv", [(text, name) for name, texts in kinds.items() for text in texts[:OF_EACH_KIND]])
    return {
        "novels": (ROOT / "examples/data/novels.csv", "novel"),
        "packages": (folder / "packages.csv", "label"),
        "kinds": (folder / "kinds.csv", "label"),
    }


def write(place: Path, rows: list[tuple[str, str]]) -> None:
    with place.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def judged(path: Path, target: str, kind: str, seed: int) -> tuple[float, float]:
    """Accuracy on what is held out, and seconds of processor time, tokens included."""
    recipe = parse_text_recipe({"kind": "text", "target": target, "seed": seed} | ({"network": {"kind": kind}} if kind != "words" else {}))
    problem = pose_texts(path, path.name, recipe)
    truth, began = problem.labels[problem.test], time.process_time()
    if kind == "words":
        found = rivals(problem)["counted words"]
    else:
        tokenizer = learn_tokens(problem.of(problem.train), recipe.tokens)
        lesson = lesson_for(problem, recipe, tokenizer)
        learner = Learner(lesson.module, lesson.objective, recipe.learning, choose_device("auto"), None, seed=seed)
        learner.fit(lesson.train, lesson.validate, lambda *_: None)
        found = answers(lesson.module.eval(), TextExamples(problem, problem.test, tokenizer))
    return float((found.argmax(axis=1) == truth).mean()), time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--kinds", default="words,bag")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, target) in sets(Path(folder)).items():
            for kind in given.kinds.split(","):
                found = np.array([judged(path, target, kind, int(seed)) for seed in given.seeds.split(",")])
                rows.append({"set": name, "kind": kind, "accuracy": found[:, 0].mean(), "seconds": found[:, 1].mean()})
                print(f"{name:10} {kind:12} {rows[-1]['accuracy']:.3f} {rows[-1]['seconds']:6.1f} s", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
