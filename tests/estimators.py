"""Small fitted estimators for tests."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

ROWS = 200


@functools.cache
def frame() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "body mass": random.normal(4200, 800, ROWS).astype(np.float32),
            "bill.length": random.normal(44, 5, ROWS).astype(np.float32),
            "island": random.choice(["Biscoe", "Dream", "Torgersen"], ROWS).astype(object),
        }
    )
    heavy = table["body mass"] > np.where(table["island"] == "Biscoe", 4000, 4500)
    return table, np.where(heavy, "Gentoo", "Adelie")


@functools.cache
def pipeline():
    """Columns of a frame, numbers and text, to a class."""
    table, species = frame()
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["body mass", "bill.length"]),
        (OneHotEncoder(handle_unknown="ignore"), ["island"]),
    )
    return make_pipeline(prepare, RandomForestClassifier(20, max_depth=5, random_state=0)).fit(table, species)


def as_inputs(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        str(name): table[name].to_numpy(np.float32 if pd.api.types.is_numeric_dtype(table[name]) else object).reshape(-1, 1)
        for name in table.columns
    }


@functools.cache
def unsupported() -> bytes:
    """A step that is any Python function."""
    table, species = frame()
    numbers = table[["body mass", "bill.length"]].to_numpy()
    return pickle.dumps(make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()).fit(numbers, species))
