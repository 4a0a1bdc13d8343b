"""What passes bring and cost, each child beside its parent on rows that neither has seen; processor time in turns, so that load meets both.

    python benchmarks/optimize/measure.py [--only int8,prune,channels,distill] [--epochs 8] [--json FILE]

- ``int8``: our static quantization, with its search for sensitive layers, and the library's own (``quantize_static``) in eight variants, of
  which the fastest counts: of a convolutional network for digits and of a BERT-mini with random weights.
- ``prune``: 80 % of the weights of a feed-forward and of a convolutional network, with fine-tuning between steps.
- ``channels``: half of the hidden channels, with fine-tuning.
- ``distill``: a forest of 300 trees becomes a network.

Data: the 1,797 handwritten digits that scikit-learn brings, as a table of 64 pixels and as images of 16 by 16.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[2]
LOOSE = 1e9
ROUNDS = 15


def table(folder: Path) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits()
    path = folder / "digits.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"p{at}" for at in range(64)), "digit"])
        writer.writerows([*row, f"d{label}"] for row, label in zip(digits.data, digits.target, strict=True))
    return path


def images(folder: Path) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits()
    path = folder / "digits.npz"
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    np.savez(path, x=np.kron(pixels, np.ones((1, 2, 2), np.uint8)), y=digits.target)
    return path


def trained(folder: Path, data: Path, recipe: dict):
    """The graph and its rows, as a training job makes them."""
    from modelyard.optimize.held_out import HeldOut
    from modelyard.train.job import run

    folder.mkdir()
    context = SimpleNamespace(
        folder=folder,
        inputs={"data": data},
        spec={"recipe": recipe, "dataset": {"name": "digits", "filename": data.name}},
        state=folder / "state",
        output=folder / "output",
        report=lambda *_: None,
    )
    run(context)
    written = (folder / "output/attachments/recipe.yaml").read_text()
    return onnx.load(folder / "output/artifact/model.onnx"), HeldOut.read(data, data.name, written, folder)


def processor_race(parent, child, inputs, rounds=ROUNDS):
    """How many times less processor time a call of the child takes; the median of rounds in turns."""
    ratios = []
    for model in (parent, child):
        model.infer(inputs)
    for at in range(rounds):
        spent = {}
        for name, model in (("parent", parent), ("child", child))[:: 1 if at % 2 else -1]:
            calls, began = 0, time.process_time()
            while time.process_time() - began < 0.06:
                model.infer(inputs)
                calls += 1
            spent[name] = (time.process_time() - began) / calls
        ratios.append(spent["parent"] / spent["child"])
    return statistics.median(ratios)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def loaded(self, graph):
        from modelyard.optimize.work import Candidate

        self.count += 1
        place = self.folder / f"candidate{self.count}"
        place.mkdir()
        (place / "model.onnx").write_bytes(graph.SerializeToString())
        return Candidate.load(place, "model.onnx")

    def row(self, title, parent_graph, child_graph, rows, notes=None):
        from modelyard.optimize.measure import answers, rows_of

        parent, child = self.loaded(parent_graph), self.loaded(child_graph)
        rows = rows.taking([tensor.name for tensor in parent.model.signature.inputs])
        found = rows.compare(*(answers(model.model.infer, rows.inputs, batched=True) for model in (parent, child)))
        speed = {count: processor_race(parent.model, child.model, rows_of(rows.inputs, count)) for count in (1, 32)}
        return {
            "what": title,
            "metric": found["metric"],
            "parent": found["parent"]["value"],
            "child": found["child"]["value"],
            "loss": found["loss"]["value"],
            "smaller": parent.size / child.size,
            "faster_1": speed[1],
            "faster_32": speed[32],
            "notes": notes or {},
        }


def applied(text, graph, rows, tolerance=0.01):
    from modelyard.optimize.base import Work
    from modelyard.optimize.table import read_pass

    work = Work(graph, rows.calibration(), rows.lessons(), origin=graph, tolerance=tolerance)
    found = read_pass(text)
    if reason := found.supports(work):
        raise SystemExit(f"{text}: {reason}")
    return found.run(work), work.notes


def library_variants(graph, feed):
    """The library's own static quantization, after its own preparation: QDQ and QOperator, with and without scales per channel, of products
    alone and of all operators that it knows."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.parts = iter([feed])

        def get_next(self):
            return next(self.parts, None)

    with tempfile.TemporaryDirectory() as folder:
        source, prepared = Path(folder) / "source.onnx", Path(folder) / "prepared.onnx"
        onnx.save(graph, source)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        for per_channel, form, kinds in itertools.product((True, False), QuantFormat, (["MatMul", "Gemm", "Conv"], None)):
            out = Path(folder) / "out.onnx"
            options = {"per_channel": per_channel, "reduce_range": True, "weight_type": QuantType.QInt8}
            quantize_static(
                str(prepared),
                str(out),
                Reader(),
                quant_format=form,
                op_types_to_quantize=kinds,
                activation_type=QuantType.QUInt8,
                **options,
            )
            yield f"{form.name}{', per channel' if per_channel else ''}{'' if kinds else ', all operators'}", onnx.load(out)


def beside(bench: Bench, parent, ours, variants, inputs) -> dict:
    """How many times faster than the parent each variant is, and ours beside the best of them, in turns with it."""
    models = {title: bench.loaded(graph).model for title, graph in variants}
    speed = {title: processor_race(parent.model, model, inputs, 7) for title, model in models.items()}
    best = max(speed, key=lambda title: speed[title])
    return {"library": speed, "beside_best": processor_race(models[best], ours.model, inputs)}


def int8(bench: Bench, network, rows) -> dict:
    from modelyard.optimize.measure import rows_of

    child, notes = applied("int8:static", network, rows)
    row = bench.row("static int8 of the convolutional network", network, child, rows, notes)
    parent, inputs = bench.loaded(network), rows_of(rows.taking(["image"]).inputs, 32)
    variants = library_variants(network, {name: array[:256] for name, array in rows.training.items()})
    return row | beside(bench, parent, bench.loaded(child), variants, inputs)


def encoder(bench: Bench) -> dict:
    from modelyard.optimize.base import Calibration, Work
    from modelyard.optimize.sensitive import answers_of
    from modelyard.optimize.table import read_pass

    spec = importlib.util.spec_from_file_location("models", ROOT / "benchmarks/models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    path = bench.folder / "encoder.onnx"
    models.encoder(path)
    graph = onnx.load(path)
    random = np.random.default_rng(0)
    ids, fresh = (random.integers(0, 30522, (rows, 64)) for rows in (64, 64))
    # Weights of chance have no quality to lose; of the answers' variance, the library's own variants lose up to two hundredths.
    work = Work(graph, Calibration({"x": ids}), tolerance=0.02)
    child = read_pass("int8:static").run(work)
    before, after = (answers_of(model, Calibration({"x": fresh}))["y"] for model in (graph, child))
    parent = bench.loaded(graph)
    ours = bench.loaded(child)
    inputs = {"x": fresh[:8]}
    library = beside(bench, parent, ours, library_variants(graph, {"x": ids[:32]}), inputs)
    cosine = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    return {
        "what": "static int8 of a BERT-mini (random weights, 8 rows of 64 tokens)",
        "metric": "cosine with the parent's answer, smallest of 64 rows",
        "parent": 1.0,
        "child": float(cosine.min()),
        "loss": float(1 - cosine.min()),
        "smaller": parent.size / ours.size,
        "faster_1": processor_race(parent.model, ours.model, {"x": fresh[:1]}, 7),
        "faster_32": processor_race(parent.model, ours.model, inputs, 7),
        "notes": work.notes,
    } | library


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="int8,prune,channels,distill")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted, found = options.only.split(","), Rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench, data = Bench(folder), table(folder)
        convolutional = None
        if {"int8", "prune", "channels"} & set(wanted):
            learning = {"epochs": options.epochs, "optimizer": {"learning_rate": 0.003}}
            recipe = {"kind": "images", "network": {"kind": "lenet", "width": 24}, "learning": learning}
            convolutional = trained(folder / "cnn", images(folder), recipe)
        if "int8" in wanted:
            found.append(int8(bench, *convolutional))
            found.append(encoder(bench))
        if {"prune"} & set(wanted):
            settings = {"network": {"hidden": [128, 64], "learning": {"epochs": 40, "optimizer": {"learning_rate": 0.003}}}}
            mlp = trained(
                folder / "mlp",
                data,
                {"target": "digit", "families": ["network"], "settings": settings, "folds": 2, "budget": {"trials": 1}},
            )
            for title, (graph, rows) in (("feed-forward", mlp), ("convolutional", convolutional)):
                child, notes = applied("prune:0.8,steps=4,finetune=8", graph, rows)
                found.append(
                    bench.row(
                        f"80 % of the weights of the {title} network pruned in 4 steps, 8 epochs after each", graph, child, rows, notes
                    )
                )
                plain, _ = applied("prune:0.8", graph, rows)
                found.append(bench.row("the same without fine-tuning", graph, plain, rows))
        if "channels" in wanted:
            graph, rows = convolutional
            child, notes = applied("channels:0.5,finetune=15", graph, rows)
            found.append(bench.row("half of the convolutional network's channels, 15 epochs after", graph, child, rows, notes))
        if "distill" in wanted:
            recipe = {
                "target": "digit",
                "families": ["forest"],
                "settings": {"forest": {"n_estimators": 300}},
                "folds": 2,
                "budget": {"trials": 1},
            }
            graph, rows = trained(folder / "forest", data, recipe)
            child, notes = applied("distill:64,temperature=2,mixing=0.7,epochs=80,rate=0.005", graph, rows)
            found.append(bench.row("a forest of 300 trees becomes a network of one hidden layer of 64", graph, child, rows, notes))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


HEADINGS = ("what", "metric", "parent", "child", "lost", "times smaller", "times faster, 1 row", "32 rows", "the library's best")


class Rows(list):
    """Measured rows, each printed as soon as it is there."""

    def __init__(self) -> None:
        super().__init__()
        print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)

    def append(self, row: dict) -> None:
        super().append(row)
        best = max(row["library"].items(), key=lambda pair: pair[1]) if "library" in row else None
        told = f"{best[1]:.2f} ({best[0]}); ours in turns with it: {row['beside_best']:.2f} times as fast" if best else ""
        numbers = [f"{row[name]:.4f}" for name in ("parent", "child", "loss")]
        numbers += [f"{row[name]:.2f}" for name in ("smaller", "faster_1", "faster_32")]
        print(f"| {' | '.join([row['what'], row['metric'], *numbers, told])} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
