"""XGBoost, LightGBM and CatBoost: their own files, and their estimators among scikit-learn's. Imported in the confined child only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted, missing_library
from modelyard.importers.columns import MATRIX
from modelyard.importers.graphs import JOINED, finish, join_columns, rename_inputs
from modelyard.importers.samples import Domain, Inputs
from modelyard.runtimes.versions import versions

_CONVERTER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
_OPSET = 15


def is_booster(model: Any) -> bool:
    """Whether this is the bare model of XGBoost or LightGBM, without the scikit-learn interface."""
    return type(model).__name__ == "Booster" and type(model).__module__.partition(".")[0] in {"xgboost", "lightgbm"}


def register_boosters(modules: Iterable[str]) -> None:
    """Registers the converters that estimators of these modules need."""
    roots = {module.partition(".")[0] for module in modules}
    if not roots & {"xgboost", "lightgbm"}:
        return
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as classifier_shapes
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes as regressor_shapes

    probabilities = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if "xgboost" in roots:
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        update_registered_converter(xgboost.XGBClassifier, "XGBClassifier", classifier_shapes, convert_xgboost, options=probabilities)
        update_registered_converter(xgboost.XGBRegressor, "XGBRegressor", regressor_shapes, convert_xgboost)
    if "lightgbm" in roots:
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(lightgbm.LGBMClassifier, "LGBMClassifier", classifier_shapes, convert_lightgbm, options=probabilities)
        split = {"split": None}
        update_registered_converter(lightgbm.LGBMRegressor, "LGBMRegressor", regressor_shapes, convert_lightgbm, options=split)


def convert_xgboost_file(bench: Bench) -> Converted:
    """A file of XGBoost's as ``model.onnx``."""
    try:
        import xgboost
        from onnxmltools import convert_xgboost
    except ModuleNotFoundError as error:
        raise missing_library(error, "boost") from error
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bench.folder / bench.part.entry)
    except xgboost.core.XGBoostError as error:
        raise InvalidArtifact(f"XGBoost cannot read {bench.part.entry!r}: {_first_line(error)}.") from None
    names, count = booster.feature_names, booster.num_features()
    splits = booster.trees_to_dataframe() if "gbtree" in booster.save_config() else None
    booster.feature_names = booster.feature_types = None
    graph = _converted(convert_xgboost, booster, count)

    def predict(rows: Array) -> Array:
        return np.asarray(booster.predict(xgboost.DMatrix(rows, nthread=1)))

    domain = _domain(splits, "Feature", "Split", names, count)
    return _finished(bench, graph, predict, names=names, domain=domain, environment=versions("xgboost-cpu", "xgboost", "onnxmltools"))


def convert_lightgbm_file(bench: Bench) -> Converted:
    """A file of LightGBM's as ``model.onnx``."""
    try:
        import lightgbm
        from onnxmltools import convert_lightgbm
    except ModuleNotFoundError as error:
        raise missing_library(error, "boost") from error
    text = (bench.folder / bench.part.entry).read_text(encoding="utf-8", errors="replace")
    if "end of trees" not in text:
        raise InvalidArtifact(f"{bench.part.entry!r} ends before its last tree; save or upload it again.")
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise InvalidArtifact(f"LightGBM cannot read {bench.part.entry!r}: {' '.join(str(error).split())[:200]}.") from None
    names, count = booster.feature_name(), booster.num_feature()
    generic = all(name == f"Column_{place}" for place, name in enumerate(names))
    graph = _converted(convert_lightgbm, booster, count, zipmap=False)
    domain = _domain(booster.trees_to_dataframe(), "split_feature", "threshold", names, count)
    return _finished(
        bench,
        graph,
        lambda rows: np.asarray(booster.predict(rows, num_threads=1)),
        names=None if generic else names,
        domain=domain,
        environment=versions("lightgbm", "onnxmltools"),
    )


def convert_catboost_file(bench: Bench) -> Converted:
    """A file of CatBoost's as ``model.onnx``."""
    try:
        import catboost
    except ModuleNotFoundError as error:
        raise missing_library(error, "catboost") from error
    model = catboost.CatBoost()
    try:
        model.load_model(str(bench.folder / bench.part.entry))
        if model.get_cat_feature_indices() or model.get_text_feature_indices():
            raise Unsupported("CatBoost exports no model with categories or texts; encode them in a scikit-learn pipeline instead")
        exported = bench.made / "exported"
        model.save_model(str(exported), format="onnx")
    except catboost.CatBoostError as error:
        raise InvalidArtifact(f"CatBoost cannot read or export {bench.part.entry!r}: {' '.join(str(error).split())[:300]}.") from None
    graph = onnx.load(exported)
    exported.unlink()
    kind = "Probability" if any(output.name == "probabilities" for output in graph.graph.output) else "RawFormulaVal"
    _without_zipmap(graph)
    names = [str(name) for name in model.feature_names_]
    generic = all(name == str(place) for place, name in enumerate(names))

    def predict(rows: Array) -> Array:
        found = np.asarray(model.predict(rows, prediction_type=kind, thread_count=1))
        return found[:, 1] if kind == "Probability" and found.shape[1] == 2 else found

    return _finished(bench, graph, predict, names=None if generic else names, domain=Domain(), environment=versions("catboost"))


def _converted(convert: Any, booster: Any, count: int, **options: Any) -> onnx.ModelProto:
    from onnxmltools.convert.common.data_types import FloatTensorType

    try:
        made: onnx.ModelProto = convert(booster, initial_types=[(MATRIX, FloatTensorType([None, count]))], target_opset=_OPSET, **options)
    except _CONVERTER_ERRORS as error:
        raise Unsupported(f"The booster has no exact ONNX conversion: {' '.join(str(error).split())[:300]}") from None
    return made


def _first_line(error: Exception) -> str:
    """What XGBoost says, without its time and place."""
    return " ".join(str(error).strip().split("\n")[0].rpartition("] ")[2].split())[:200].rstrip(".") or "it is damaged"


def _finished(
    bench: Bench, graph: onnx.ModelProto, predict: Any, *, names: Sequence[str] | None, domain: Domain, environment: dict[str, str]
) -> Converted:
    """Names inputs and outputs. ``predict`` gives what the booster does: values, or probabilities of the last class or of each."""
    classifier = len(graph.graph.output) > 1
    outputs = ["label", "probabilities"] if classifier else ["prediction"]
    if names:
        rename_inputs(graph, [JOINED])
        join_columns(graph, list(names))
    else:
        rename_inputs(graph, [MATRIX])
    finish(graph, bench.made / "model.onnx", dict(zip(outputs, [value.name for value in graph.graph.output], strict=False)))
    columns = list(names or ())

    def original(inputs: Inputs) -> Inputs:
        rows = np.concatenate([inputs[name] for name in columns], axis=1) if columns else inputs[MATRIX]
        found = predict(rows)
        if not classifier:
            return {"prediction": found}
        both = np.stack([1 - found, found], axis=1) if found.ndim == 1 else found
        return {"label": both.argmax(axis=1), "probabilities": both}

    domains = {MATRIX: domain}
    if columns and domain.centers:
        pairs = zip(columns, domain.centers, domain.spreads, strict=True)
        domains = {name: Domain(centers=(center,), spreads=(spread,)) for name, center, spread in pairs}
    how = next((f"{name} {number}" for name, number in environment.items() if name in {"onnxmltools", "catboost"}), "")
    return Converted(entry="model.onnx", format="onnx", how=how, original=original, domains=domains, environment=environment)


def _domain(trees: Any, feature: str, threshold: str, names: Sequence[str] | None, count: int) -> Domain:
    """Where the trees split, for each column."""
    if trees is None or feature not in trees:
        return Domain()
    places = {name: place for place, name in enumerate(names or [f"f{at}" for at in range(count)])}
    values: list[list[float]] = [[] for _ in range(count)]
    for name, value in zip(trees[feature], trees[threshold], strict=True):
        if name in places and isinstance(value, int | float | np.number) and np.isfinite(value):
            values[places[name]].append(float(value))
    centers = tuple(float(np.median(some)) if some else 0.0 for some in values)
    spreads = tuple(float(np.std(some)) or 1.0 if some else 1.0 for some in values)
    return Domain(centers=centers, spreads=spreads)


def _without_zipmap(graph: onnx.ModelProto) -> None:
    """Takes the table of probabilities as a tensor, not as one map a row."""
    zipmaps = [node for node in graph.graph.node if node.op_type == "ZipMap"]
    for node in zipmaps:
        graph.graph.node.remove(node)
        for output in graph.graph.output:
            if output.name == node.output[0]:
                output.CopyFrom(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, [None, None]))
