"""Writes MLflow models, in a process of its own: ``python mlflow_models.py FOLDER``. MLFLOW_TRACKING_URI gets two of them registered."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression


class Spread(mlflow.pyfunc.PythonModel):
    """A function of columns."""

    def predict(self, context, model_input, params=None):
        high, low = model_input["high"], model_input["low"]
        return pd.DataFrame({"spread": high - low, "wide": high - low > 1})


def main(folder: Path) -> None:
    random = np.random.default_rng(4)
    rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["high", "low"])
    fitted = LogisticRegression().fit(rows.astype(np.float32), (rows["high"] > rows["low"]).astype(int))
    signature = infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(
        fitted,
        folder / "fitted",
        signature=signature,
        input_example=rows[:2],
        serialization_format="pickle",
        pip_requirements=["scikit-learn"],
    )
    answer = Spread().predict(None, rows)
    mlflow.pyfunc.save_model(
        folder / "function", python_model=Spread(), signature=infer_signature(rows, answer), pip_requirements=["mlflow-skinny", "pandas"]
    )
    given = rows[:20].astype(np.float32)
    (folder / "answers.pkl").write_bytes(
        pickle.dumps({"rows": given.to_numpy(), "label": fitted.predict(given), "probabilities": fitted.predict_proba(given)})
    )
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=signature,
            input_example=rows[:2],
            serialization_format="pickle",
            pip_requirements=["scikit-learn"],
        )
    version = mlflow.register_model(logged.model_uri, "churn")
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", version.version)


main(Path(sys.argv[1]))
