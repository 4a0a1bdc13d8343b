"""One row before and after the import, for each format that people bring: the import's own figures, as ``push`` prints them.

usage: python benchmarks/formats/measure.py [FORMAT ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import networks
from makers import files_of, make
from modelyard.core.signature import TensorSpec
from modelyard.testing.importer_contract import imported

Files = dict[str, bytes]
ROWS = 2_000


def table() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(ROWS, 16)).astype(np.float32)
    return rows, (rows[:, 0] * rows[:, 1] + random.normal(size=ROWS) * 0.1 > 0).astype(int)


def forest(_: Path) -> Files:
    from sklearn.ensemble import RandomForestClassifier

    return {"model.pkl": pickle.dumps(RandomForestClassifier(100, random_state=0).fit(*table()))}


def xgboost(_: Path) -> Files:
    from xgboost import XGBClassifier

    return {"model.ubj": bytes(XGBClassifier(n_estimators=100).fit(*table()).get_booster().save_raw("ubj"))}


def lightgbm(_: Path) -> Files:
    from lightgbm import LGBMClassifier

    return {"model.txt": LGBMClassifier(n_estimators=100, verbose=-1).fit(*table()).booster_.model_to_string().encode()}


def catboost(folder: Path) -> Files:
    from catboost import CatBoostClassifier

    CatBoostClassifier(iterations=100, verbose=0, allow_writing_files=False).fit(*table()).save_model(folder / "model.cbm")
    return {"model.cbm": (folder / "model.cbm").read_bytes()}


def torch(_: Path) -> Files:
    import torch as library

    layer = library.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    module = library.nn.Sequential(library.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), library.nn.Linear(64, 2)).eval()
    free = {0: library.export.Dim("rows"), 1: library.export.Dim("tokens")}
    program = library.export.export(module, (library.randn(3, 8, 64),), dynamic_shapes=(free,))
    stream = io.BytesIO()
    library.export.save(program, stream)
    return {"model.pt2": stream.getvalue()}


def torchscript(_: Path) -> Files:
    return {"model.pt": networks.scripted()}


def keras(_: Path) -> Files:
    return {"model.keras": networks.keras_file(networks.keras_model())}


def hugging_face(folder: Path) -> Files:
    return networks.encoder(folder / "encoder", "embed")


def tensorflow(folder: Path) -> Files:
    return files_of(make("saved_model", folder, TF_CPP_MIN_LOG_LEVEL="3") / "averages")


FORMATS: dict[str, tuple[str, Callable[[Path], Files], tuple[str, ...]]] = {
    "scikit-learn": ("random forest, 100 trees, 16 columns", forest, ()),
    "xgboost": ("100 trees, 16 columns", xgboost, ()),
    "lightgbm": ("100 trees, 16 columns", lightgbm, ()),
    "catboost": ("100 trees, 16 columns", catboost, ()),
    "torch": ("transformer of 2 layers, width 64, 8 tokens", torch, ()),
    "torchscript": ("convolution, 8 steps", torchscript, ("x:FP32[-1,-1,4]",)),
    "keras": ("convolution, 8 steps", keras, ()),
    "hugging_face": ("BERT of 2 layers, width 32; tokenizing included", hugging_face, ()),
    "tensorflow": ("SavedModel of one product", tensorflow, ()),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    print(f"{'format':14} {'model':50} {'before':>10} {'after':>10} {'ratio':>7} {'error p99':>10} {'import':>7}")
    for name in arguments.formats:
        title, build, signature = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            files = build(Path(folder))
            said = {"signature": [msgspec.to_builtins(TensorSpec.parse(text)) for text in signature]}
            began = time.perf_counter()
            outcome = imported(Path(folder) / "job", files, trust=True, **said)[0].outcome
            seconds = time.perf_counter() - began
        errors = [facts["error_p99"] for facts in outcome.proof["outputs"].values() if "error_p99" in facts]
        row = {"format": name, "model": title, "how": outcome.how, "before_us": outcome.before_us, "after_us": outcome.after_us}
        found.append(row | {"error_p99": max(errors, default=0.0), "seconds": round(seconds, 1), "environment": outcome.environment})
        ratio = outcome.before_us / outcome.after_us
        print(
            f"{name:14} {title:50} {outcome.before_us / 1000:8.3f}ms {outcome.after_us / 1000:8.3f}ms {ratio:6.1f}x "
            f"{max(errors, default=0.0):10.1e} {seconds:5.1f} s",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
