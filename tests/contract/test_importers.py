"""One contract over every format that people bring, each with a real artifact made here."""

from __future__ import annotations

import io
import pickle
from functools import partial

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost

import estimators
from modelyard.testing.importer_contract import Case, ImporterContract, KeptContract

pytestmark = pytest.mark.usefixtures("quick_conversions")
PRELOADED = [
    "modelyard.importers.work",
    "modelyard.importers.estimators",
    "modelyard.importers.boosters",
    "skops.io",
    "pandas",
    "onnxmltools",
    "xgboost",
    "lightgbm",
    "catboost",
    "onnxruntime",
]


def _joblib(estimator) -> bytes:
    stream = io.BytesIO()
    joblib.dump(estimator, stream, compress=3)
    return stream.getvalue()


class TestEstimators(ImporterContract):
    @pytest.fixture(scope="class", params=["skops", "joblib", "pickle"])
    @classmethod
    def case(cls, request):
        pipeline = estimators.pipeline()
        table = estimators.frame()[0][:40]
        content = {"skops": skops.io.dumps, "joblib": _joblib, "pickle": pickle.dumps}[request.param](pipeline)
        return Case(
            importer="sklearn",
            files={f"model.{request.param}": content},
            inputs=estimators.as_inputs(table),
            outputs={"label": pipeline.predict(table), "probabilities": pipeline.predict_proba(table)},
            runs_code=request.param != "skops",
        )


class TestKeptEstimators(KeptContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        rows = estimators.frame()[0][["body mass", "bill.length"]].to_numpy(np.float32)[:20]
        model = pickle.loads(estimators.unsupported())
        return Case(
            importer="sklearn",
            files={},
            inputs={},
            outputs={},
            unsupported={"model.pkl": estimators.unsupported()},
            unsupported_reason="no exact ONNX conversion: FunctionTransformer",
            unsupported_inputs={"input": rows},
            unsupported_outputs={"label": model.predict(rows), "probabilities": model.predict_proba(rows)},
        )


def _numbers():
    random = np.random.default_rng(1)
    rows = (random.normal(size=(200, 3)) * [1, 10, 100]).astype(np.float32)
    return rows, (rows[:, 0] + rows[:, 1] / 10 > 0).astype(int)


class TestXgboost(ImporterContract):
    @pytest.fixture(scope="class", params=["json", "ubj"])
    @classmethod
    def case(cls, request):
        rows, wanted = _numbers()
        model = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(rows, wanted)
        return Case(
            importer="xgboost",
            files={"model.bin": bytes(model.get_booster().save_raw(request.param))},
            inputs={"input": rows[:20]},
            outputs={"label": model.predict(rows[:20]), "probabilities": model.predict_proba(rows[:20])},
            runs_code=False,
        )


class TestLightgbm(ImporterContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        rows, wanted = _numbers()
        model = lightgbm.LGBMClassifier(n_estimators=5, max_depth=3, verbose=-1).fit(rows, wanted)
        return Case(
            importer="lightgbm",
            files={"model.txt": model.booster_.model_to_string().encode()},
            inputs={"input": rows[:20]},
            outputs={"probabilities": np.asarray(model.booster_.predict(rows[:20])).reshape(-1, 1) * [[-1, 1]] + [[1, 0]]},
            runs_code=False,
        )


class TestPickledBoosters(ImporterContract):
    """Their estimators in pickles: opened with trust and in confinement only, and converted as their own files are."""

    @pytest.fixture(scope="class", params=["xgboost", "lightgbm"])
    @classmethod
    def case(cls, request):
        rows, wanted = _numbers()
        kinds = {"xgboost": xgboost.XGBClassifier, "lightgbm": partial(lightgbm.LGBMClassifier, verbose=-1)}
        model = kinds[request.param](n_estimators=5, max_depth=3).fit(rows, wanted)
        return Case(
            importer="sklearn",
            files={"model.pkl": pickle.dumps(model)},
            inputs={"input": rows[:20]},
            outputs={"label": model.predict(rows[:20]), "probabilities": model.predict_proba(rows[:20])},
        )


class TestCatboost(ImporterContract):
    @pytest.fixture(scope="class", params=["classifier", "regressor", "several"])
    @classmethod
    def case(cls, request, tmp_path_factory):
        rows, wanted = _numbers()
        kind = catboost.CatBoostRegressor if request.param == "regressor" else catboost.CatBoostClassifier
        target = {"classifier": wanted, "regressor": rows[:, 0], "several": np.digitize(rows[:, 0], [-0.5, 0.5])}[request.param]
        model = kind(iterations=5, depth=3, verbose=0, allow_writing_files=False, random_seed=1).fit(rows, target)
        path = tmp_path_factory.mktemp("catboost") / "model.cbm"
        model.save_model(path)
        given = rows[:20]
        classified = request.param != "regressor"
        return Case(
            importer="catboost",
            files={"model.cbm": path.read_bytes()},
            inputs={"input": given},
            outputs={"probabilities": model.predict_proba(given)} if classified else {"prediction": model.predict(given)},
            runs_code=False,
        )


class TestKeptCatboost(KeptContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory):
        rows, wanted = _numbers()
        colours = np.array(["red", "blue", "green"])[(rows[:, 2] > 0).astype(int) + (rows[:, 0] > 1)]
        table = pd.DataFrame({"size": rows[:, 0], "colour": colours})
        model = catboost.CatBoostClassifier(
            iterations=5, depth=3, verbose=0, allow_writing_files=False, random_seed=1, cat_features=["colour"]
        )
        model.fit(table, np.array(["no", "yes"])[wanted])
        path = tmp_path_factory.mktemp("catboost") / "model.cbm"
        model.save_model(path)
        given = table.head(20)
        return Case(
            importer="catboost",
            files={},
            inputs={},
            outputs={},
            runs_code=False,
            unsupported={"model.cbm": path.read_bytes()},
            unsupported_reason="exports no model with categories",
            unsupported_inputs={
                "size": given["size"].to_numpy(np.float32).reshape(-1, 1),
                "colour": given["colour"].to_numpy(object).reshape(-1, 1),
            },
            unsupported_outputs={"label": model.predict(given), "probabilities": model.predict_proba(given)},
        )
