"""What Modelyard adds to a scikit-learn search: the same families, settings, folds, metric and threads, with and without it.

    python benchmarks/train/overhead.py [--rounds 3] [--tables penguins,generated,large] [--ways …]
                                         [--rows 1000000] [--iterations 100]

Three ways, each run in a process of its own, interleaved, medians of per-round ratios:

- ``pipeline``: what people write: imputer, scaler, encoder and estimator fitted together in every fold of every trial.
- ``bare``: the quickest loop without Modelyard: each fold is prepared once and shared by all families, nothing else is done.
- ``modelyard``: ``train.job.run``: the same, and profile, leaderboard, ONNX graph, proof, pictures, report.

``large`` is a Parquet file of 30 columns that boosting learns, in three folds and once on all. Fewer ``--iterations`` of it take less time,
and make what is added a larger share.

``work`` is without imports, ``process`` is everything from start to exit (all three import skl2onnx, which comes with the families' table),
``cpu`` is processor time of the process and of those that it started, ``memory`` the most that it and those that it started held at a time:
proportional set sizes, looked at ten times a second.
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


def large(rows: int, numbers: int = 24, words: int = 6) -> Path:
    """The same as Parquet, without a cell that goes through Python."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = OUT / f"table-{rows}x{numbers + words}.parquet"
    if path.exists():
        return path
    random = np.random.default_rng(0)
    names = np.array([f"word{at}" for at in range(6)])
    x = random.normal(size=(rows, numbers)).astype(np.float32)
    w = random.integers(0, 6, (rows, words))
    score = x[:, :5] @ random.normal(size=5) + (x[:, 5] * x[:, 6]) + (w[:, 0] == 2) - 0.5 * w[:, 1] + random.normal(size=rows)
    x[random.random((rows, numbers)) < 0.02] = np.nan
    columns = {f"n{at}": pa.array(x[:, at], from_pandas=True) for at in range(numbers)}
    columns |= {f"w{at}": pa.array(names[w[:, at]]) for at in range(words)}
    columns["y"] = pa.array(np.array(list("abc"))[np.digitize(score, np.quantile(score, [0.4, 0.75]))])
    pq.write_table(pa.table(columns), path)
    return path


def table(name: str, rows: int, iterations: int) -> tuple[Path, dict]:
    """File and recipe."""
    if name == "penguins":
        return ROOT / "examples/data/penguins.csv", {"target": "species"}
    if name == "large":
        settings = {"boosting": {"max_iter": iterations}}
        return large(rows), {"target": "y", "families": ["boosting"], "folds": 3, "settings": settings, "budget": {"trials": 1}}
    return generated(), {"target": "y", "budget": {"trials": 1}}


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
    """Numbers, words and target as typed matrices, by the csv module or by pyarrow alone."""
    import csv

    import numpy as np

    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = pq.read_table(path)
        texts = [name for name in columns.column_names if pa.types.is_string(columns[name].type) and name != target]
        others = [name for name in columns.column_names if name not in {*texts, target}]
        held = np.column_stack([columns[name].to_numpy() for name in others]), np.column_stack([columns[name].to_numpy() for name in texts])
        return *held, columns[target].to_numpy().astype(str)

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

    from modelyard.train.families import FAMILIES, ON_REQUEST
    from modelyard.train.problem import Task
    from modelyard.train.search import threads_for
    from modelyard.train.trainers.base import Shape

    usual = [name for name in FAMILIES.names() if name not in ON_REQUEST]
    trainers = {name: FAMILIES.get(name) for name in recipe.get("families", usual)}
    began = time.perf_counter()
    numbers, words, labels = read_plainly(path, recipe["target"])
    classes, y = np.unique(labels, return_inverse=True)
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0, stratify=y)
    splitter = StratifiedKFold(recipe.get("folds", 3 if len(train) > 10_000 else 5), shuffle=True, random_state=0)
    folds = [(train[fit], train[check]) for fit, check in splitter.split(train, y[train])]
    ready: dict[int, tuple] = {0: prepared(numbers, words, *folds[0])}
    features = ready[0][0].shape[1]
    shape = Shape(Task.CLASSIFICATION, len(train), features, len(classes), 0, threads_for(len(train), features))
    best, trials = None, 0
    with threadpool_limits(limits=shape.threads):
        for name, trainer in trainers.items():
            if Task.CLASSIFICATION not in trainer.tasks or trainer.reluctance(shape):
                continue
            for candidate in trainer.candidates(shape)[: recipe.get("budget", {}).get("trials", 2)]:
                settings = dict(candidate) | recipe.get("settings", {}).get(name, {})
                trials += 1
                scores = []
                for at, (fit, check) in enumerate(folds):
                    rows = Shape(shape.task, len(fit), features, shape.classes, 0, shape.threads)
                    estimator = trainer.estimator(settings, rows)
                    if at not in ready:
                        ready[at] = prepared(numbers, words, fit, check)
                    seen, unseen = ready[at]
                    chosen = estimator.fit(seen, y[fit]).predict_proba(unseen)
                    if not once or len(train) > 100_000:
                        seen = unseen = None
                        ready.clear()  # as who looks at memory does
                    scores.append(metrics.f1_score(y[check], chosen.argmax(axis=1), average="macro"))
                score = np.mean(scores)
                if best is None or score > best[0]:
                    best = (score, trainer, settings)
        seen = unseen = None
        ready.clear()
        seen, unseen = prepared(numbers, words, train, test)
        predicted = best[1].estimator(best[2], shape).fit(seen, y[train]).predict_proba(unseen)
    found = {"accuracy": metrics.accuracy_score(y[test], predicted.argmax(axis=1)), "log_loss": metrics.log_loss(y[test], predicted)}
    return {"work": time.perf_counter() - began, "metrics": found, "trials": trials}


def child(way: str, name: str, rows: int, iterations: int) -> None:
    import resource
    import warnings

    warnings.simplefilter("ignore")
    path, recipe = table(name, rows, iterations)
    done = with_modelyard(path, recipe) if way == "modelyard" else without_modelyard(path, recipe, once=way == "bare")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    done["cpu"] = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps(done))


def once(way: str, name: str, rows: int, iterations: int) -> dict:
    began, most = time.perf_counter(), 0.0
    command = [sys.executable, __file__, "--rows", str(rows), "--iterations", str(iterations), "--child", way, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, held(process.pid))
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit(f"{way} of {name} ended with {process.returncode}")
        done = json.loads(process.stdout.read().splitlines()[-1])
    return done | {"process": time.perf_counter() - began, "memory": most}


def held(process: int) -> float:
    """MiB of a process and of all that it started."""
    try:
        place = Path(f"/proc/{process}")
        rollup = (place / "smaps_rollup").read_text()
        children = [int(child) for task in (place / "task").iterdir() for child in (task / "children").read_text().split()]
    except (OSError, ValueError):
        return 0.0
    own = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own / 1024 + sum(held(child) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tables", default="penguins,generated")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table 'large'")
    parser.add_argument("--iterations", type=int, default=100, help="of boosting on the table 'large'")
    parser.add_argument("--ways", default=",".join(WAYS), help="modelyard and one or both of the others")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.child and arguments.child[0] == "make":
        table(arguments.child[1], arguments.rows, arguments.iterations)
        return
    if arguments.child:
        child(*arguments.child, arguments.rows, arguments.iterations)
        return
    report, ways = {}, arguments.ways.split(",")
    figures = ("work", "process", "cpu", "memory")
    heads = "".join(f"{title:>14}" for title in ("work s", "process s", "cpu s", "memory MiB"))
    print(f"{'table':<12}{'way':<12}{heads}   ours / this: work, process, cpu, memory; held-out accuracy")
    for name in arguments.tables.split(","):
        make = [
            "--rows",
            str(arguments.rows),
            "--child",
            "make",
            name,
        ]  # in a process of its own, because it holds the table more than once
        subprocess.run([sys.executable, __file__, *make], check=True)
        if name != "large":
            once("bare", name, arguments.rows, arguments.iterations)  # Warms the disk cache.
        rounds = [{way: once(way, name, arguments.rows, arguments.iterations) for way in ways} for _ in range(arguments.rounds)]
        report[name] = {"rounds": rounds}
        for way in ways:
            middle = {key: statistics.median(turn[way][key] for turn in rounds) for key in figures}
            ratio = {key: statistics.median(turn["modelyard"][key] / turn[way][key] for turn in rounds) for key in figures}
            report[name][way] = middle | {f"modelyard_{key}_ratio": value for key, value in ratio.items()}
            shown = "" if way == "modelyard" else ", ".join(f"{ratio[key]:.3f}" for key in figures) + "; "
            told = f"{rounds[0][way]['metrics']['accuracy']:.4f} ({rounds[0][way]['trials']} trials)"
            print(f"{name:<12}{way:<12}{''.join(f'{middle[key]:>14.2f}' for key in figures)}   {shown}{told}", flush=True)
    path = OUT / "train-overhead.json"
    path.write_text(json.dumps(report, indent=1))
    print(f"ratios: modelyard / way; written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
