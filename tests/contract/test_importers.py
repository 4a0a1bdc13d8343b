"""One contract over every format that people bring, each with a real artifact made here."""

from __future__ import annotations

import io
import pickle

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost

import estimators
from modelyard.testing.importer_contract import Case, ImporterContract


def _joblib(estimator) -> bytes:
    stream = io.BytesIO()
    joblib.dump(estimator, stream, compress=3)
    return stream.getvalue()


class TestEstimators(ImporterContract):
    @pytest.fixture(params=["skops", "joblib", "pickle"])
    def case(self, request):
        pipeline = estimators.pipeline()
        table = estimators.frame()[0][:40]
        content = {"skops": skops.io.dumps, "joblib": _joblib, "pickle": pickle.dumps}[request.param](pipeline)
        return Case(
            importer="sklearn",
            files={f"model.{request.param}": content},
            inputs=estimators.as_inputs(table),
            outputs={"label": pipeline.predict(table), "probabilities": pipeline.predict_proba(table)},
            runs_code=request.param != "skops",
            unsupported={"model.pkl": estimators.unsupported()} if request.param == "pickle" else None,
            unsupported_reason="no exact ONNX conversion: FunctionTransformer",
        )


def _numbers():
    random = np.random.default_rng(1)
    rows = (random.normal(size=(200, 3)) * [1, 10, 100]).astype(np.float32)
    return rows, (rows[:, 0] + rows[:, 1] / 10 > 0).astype(int)


class TestXgboost(ImporterContract):
    @pytest.fixture(params=["json", "ubj"])
    def case(self, request):
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
    @pytest.fixture
    def case(self):
        rows, wanted = _numbers()
        model = lightgbm.LGBMClassifier(n_estimators=5, max_depth=3, verbose=-1).fit(rows, wanted)
        return Case(
            importer="lightgbm",
            files={"model.txt": model.booster_.model_to_string().encode()},
            inputs={"input": rows[:20]},
            outputs={"probabilities": np.asarray(model.booster_.predict(rows[:20])).reshape(-1, 1) * [[-1, 1]] + [[1, 0]]},
            runs_code=False,
        )
