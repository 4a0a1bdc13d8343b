"""What Modelyard adds to a scikit-learn search: the same families, settings, folds, metric and threads, with and without it.

    python benchmarks/train/overhead.py [--rounds 3] [--tables penguins,generated]

Three ways, each run in a process of its own, interleaved, medians of per-round ratios:

- ``pipeline``: what people write: imputer, scaler, encoder and estimator fitted together in every fold of every trial.
- ``bare``: the quickest loop without Modelyard: each fold is prepared once and shared by all families, nothing else is done.
- ``modelyard``: ``train.job.run``: the same, and profile, leaderboard, ONNX graph, proof, pictures, report.

``work`` is without imports, ``process`` is everything from start to exit (all three import skl2onnx, which comes with the families' table).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "out"
WAYS = ("pipeline", "bare", "modelyard")


def generated(rows: int = 20_000, numbers: int = 16, words: int = 4) -> Path:
    """A table of numbers and categories with gaps, made once."""
    path = OUT / f"table-{rows}x{numbers + words}.csv"
    if path.exists():
        return path
    import numpy as np

    random = np.random.default_rng(0)
    x = random.normal(size=(rows, numbers)).round(4)
    w = random.integers(0, 6, (rows, words))
    score = x[:, :5] @ random.normal(size=5) + (x[:, 5] * x[:, 6]) + (w[:, 0] == 2) - 0.5 * w[:, 1] + random.normal(size=rows)
    y = np.digitize(score, np.quantile(score, [0.4, 0.75]))
    gaps = random.random((rows, numbers)) < 0.02
    lines = [",".join([*(f"n{at}" for at in range(numbers)), *(f"w{at}" for at in range(words)), "y"])]
    for at in range(rows):
        cells = ["" if gaps[at, k] else str(x[at, k]) for k in range(numbers)]
        lines.append(",".join([*cells, *(f"word{value}" for value in w[at]), "abc"[y[at]]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def tables() -> dict[str, tuple[Path, dict]]:
    """Name → file and recipe."""
    return {
        "penguins": (ROOT / "examples/data/penguins.csv", {"target": "species"}),
        "generated": (generated(), {"target": "y", "budget": {"trials": 1}}),
    }


def with_modelyard(path: Path, recipe: dict) -> dict:
    from types import SimpleNamespace

    import modelyard.train.pipeline
    from modelyard.train.job import run

    del modelyard
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = run(SimpleNamespace(spec={"recipe": recipe}, folder=Path(folder), inputs={"data": path}, report=lambda *_: None))
    return {
        "work": time.perf_counter() - began,
        "metrics": result["metrics"],
        "trials": sum(row["trials"] for row in result["report"]["leaderboard"]),
    }


def read_plainly(path: Path, target: str):
    """Numbers, words and target as typed matrices, by the csv module alone."""
    import csv

    import numpy as np

    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    missing = {"", "NA"}
    numbers, words = [], []
    for at, name in enumerate(header):
        cells = [row[at] for row in rows]
        if name == target:
            y = np.array(cells)
            continue
        try:
            numbers.append(np.array([float("nan") if cell in missing else float(cell) for cell in cells], np.float32))
        except ValueError:
            words.append(np.array(["" if cell in missing else cell for cell in cells], object))
    return np.column_stack(numbers), np.column_stack(words), y


def prepared(numbers, words, fit, other):
    """Both sets of rows as float32 features, learned from the first."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    first = np.hstack([scale.fit_transform(numbers[fit]), encode.fit_transform(words[fit])])
    return first, np.hstack([scale.transform(numbers[other]), encode.transform(words[other])])


def without_modelyard(path: Path, recipe: dict, *, once: bool) -> dict:
    """The same search by hand; ``once`` prepares each fold once for all families."""
    import numpy as np

    # All families' libraries are loaded before the clock starts: importing is not work.
    from sklearn import metrics
    from sklearn.model_selection import StratifiedKFold, train_test_split
    from threadpoolctl import threadpool_limits

    from modelyard.train.families import FAMILIES
    from modelyard.train.problem import Task
    from modelyard.train.search import threads_for
    from modelyard.train.trainers.base import Shape

    trainers = {name: FAMILIES.get(name) for name in FAMILIES.names()}
    began = time.perf_counter()
    numbers, words, labels = read_plainly(path, recipe["target"])
    classes, y = np.unique(labels, return_inverse=True)
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0, stratify=y)
    whole = prepared(numbers, words, train, test)
    features = whole[0].shape[1]
    shape = Shape(Task.CLASSIFICATION, len(train), features, len(classes), 0, threads_for(len(train), features))
    splitter = StratifiedKFold(3 if len(train) > 10_000 else 5, shuffle=True, random_state=0)
    folds = [(train[fit], train[check]) for fit, check in splitter.split(train, y[train])]
    ready: dict[int, tuple] = {}
    best, trials = None, 0
    with threadpool_limits(limits=shape.threads):
        for trainer in trainers.values():
            if Task.CLASSIFICATION not in trainer.tasks or trainer.reluctance(shape):
                continue
            for settings in trainer.candidates(shape)[: recipe.get("budget", {}).get("trials", 2)]:
                trials += 1
                scores = []
                for at, (fit, check) in enumerate(folds):
                    rows = Shape(shape.task, len(fit), features, shape.classes, 0, shape.threads)
                    estimator = trainer.estimator(settings, rows)
                    if at not in ready or not once:
                        ready[at] = prepared(numbers, words, fit, check)
                    seen, unseen = ready[at]
                    chosen = estimator.fit(seen, y[fit]).predict_proba(unseen)
                    scores.append(metrics.f1_score(y[check], chosen.argmax(axis=1), average="macro"))
                score = np.mean(scores)
                if best is None or score > best[0]:
                    best = (score, trainer, settings)
        predicted = best[1].estimator(best[2], shape).fit(whole[0], y[train]).predict_proba(whole[1])
    found = {"accuracy": metrics.accuracy_score(y[test], predicted.argmax(axis=1)), "log_loss": metrics.log_loss(y[test], predicted)}
    return {"work": time.perf_counter() - began, "metrics": found, "trials": trials}


def child(way: str, table: str) -> None:
    import warnings

    warnings.simplefilter("ignore")
    path, recipe = tables()[table]
    done = with_modelyard(path, recipe) if way == "modelyard" else without_modelyard(path, recipe, once=way == "bare")
    print(json.dumps(done))


def once(way: str, table: str) -> dict:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--child", way, table], capture_output=True, text=True, check=True, env=None)
    return json.loads(done.stdout.splitlines()[-1]) | {"process": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tables", default="penguins,generated")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        child(*arguments.child)
        return
    report = {}
    print(f"{'table':<12}{'way':<12}{'work s':>9}{'process s':>11}{'work ratio':>12}{'process ratio':>15}  held-out accuracy")
    for table in arguments.tables.split(","):
        once("bare", table)  # Warms the disk cache.
        rounds = [{way: once(way, table) for way in WAYS} for _ in range(arguments.rounds)]
        report[table] = {"rounds": rounds}
        for way in WAYS:
            middle = {key: statistics.median(turn[way][key] for turn in rounds) for key in ("work", "process")}
            ratio = {key: statistics.median(turn["modelyard"][key] / turn[way][key] for turn in rounds) for key in ("work", "process")}
            report[table][way] = {**middle, "modelyard_work_ratio": ratio["work"], "modelyard_process_ratio": ratio["process"]}
            accuracy = rounds[0][way]["metrics"]["accuracy"]
            shown = f"{ratio['work']:>12.3f}{ratio['process']:>15.3f}" if way != "modelyard" else f"{'':>27}"
            told = f"{accuracy:.4f} ({rounds[0][way]['trials']} trials)"
            print(f"{table:<12}{way:<12}{middle['work']:>9.2f}{middle['process']:>11.2f}{shown}  {told}")
    path = OUT / "train-overhead.json"
    path.write_text(json.dumps(report, indent=1))
    print(f"ratios: modelyard / way; written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
