"""From a fitted estimator with the scikit-learn interface to one ONNX graph of raw columns. Imported in the confined child only."""

from __future__ import annotations

from typing import Any

import onnx
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.importers.base import Bench, Converted, Original
from modelyard.importers.boosters import is_booster, register_boosters
from modelyard.importers.columns import TEXT, Columns, columns_of
from modelyard.importers.graphs import JOINED, finish, join_columns, rename_inputs
from modelyard.importers.trees import keep_missing_directions
from modelyard.runtimes.originals.estimators import calling, open_estimator
from modelyard.runtimes.versions import versions

_OPSETS = ({"": 19, "ai.onnx.ml": 3}, {"": 15, "ai.onnx.ml": 3})
"""In the order in which they are tried: some converters know older sets only."""
_TYPES = {
    Datatype.FP32: FloatTensorType,
    Datatype.FP64: DoubleTensorType,
    Datatype.INT64: Int64TensorType,
    Datatype.BYTES: StringTensorType,
}
_CONVERTER_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError)
"""skl2onnx's own errors (no converter, no shape calculator) are RuntimeErrors; its converters raise whatever they meet."""


def convert(bench: Bench) -> Converted:
    """The part as ``model.onnx``."""
    estimator = _opened(bench)
    columns = columns_of(estimator, bench.sample, bench.part.signature)
    kind = _kind(estimator)
    graph = _graph(estimator, columns, classifier="probabilities" in kind)
    names = _outputs(kind, graph)
    finish(graph, bench.made / "model.onnx", names, classes=[str(name) for name in getattr(estimator, "classes_", ())])
    compared = {name: method for name, method in kind.items() if name in names}
    first = list(compared)[-1]
    specs = [spec.name for spec in columns.specs]
    flat = specs == [TEXT]
    return Converted(
        entry="model.onnx",
        format="onnx",
        how=f"skl2onnx {skl2onnx.__version__}",
        original=calling(estimator, specs, framed=columns.framed, flat=flat, methods=compared),
        once=calling(estimator, specs, framed=columns.framed, flat=flat, methods={first: compared[first]}),
        domains=columns.domains,
        environment=_environment(estimator),
    )


def original(bench: Bench) -> Original:
    """The estimator itself."""
    estimator = _opened(bench)
    columns = columns_of(estimator, bench.sample, bench.part.signature)
    methods = _kind(estimator)
    return Original(
        library="sklearn",
        files=(bench.part.entry,),
        inputs=columns.specs,
        names=tuple(methods),
        options={"framed": columns.framed, "flat": [spec.name for spec in columns.specs] == [TEXT], "methods": methods},
        domains=columns.domains,
        environment=_environment(estimator),
    )


def _opened(bench: Bench) -> Any:
    estimator = open_estimator(bench.folder / bench.part.entry)
    if is_booster(estimator):
        raise Unsupported("This is a bare booster, not an estimator; save it in its library's own format (save_model) and push that.")
    if not any(hasattr(estimator, method) for method in ("predict", "transform")):
        raise InvalidArtifact(
            f"The file holds a {type(estimator).__name__}, which neither predicts nor transforms; save the fitted estimator."
        )
    return estimator


def _environment(estimator: Any) -> dict[str, str]:
    return versions("scikit-learn", *(module.partition(".")[0] for module in _modules(estimator)))


def _kind(estimator: Any) -> dict[str, str]:
    """Outputs to be compared → the methods that give them; the last one is what a server would call."""
    if hasattr(estimator, "classes_") and hasattr(estimator, "predict"):
        if isinstance(estimator.classes_, list):
            raise Unsupported("A classifier of several targets at once has no ONNX conversion here; push one model a target.")
        score = next((method for method in ("predict_proba", "decision_function") if hasattr(estimator, method)), "")
        return {"label": "predict"} | ({"probabilities" if score == "predict_proba" else "scores": score} if score else {})
    if hasattr(estimator, "score_samples") and hasattr(estimator, "predict") and hasattr(estimator, "offset_"):
        return {"label": "predict", "scores": "decision_function"}
    if hasattr(estimator, "cluster_centers_") and hasattr(estimator, "predict"):
        return {"label": "predict"} | ({"scores": "transform"} if hasattr(estimator, "transform") else {})
    if hasattr(estimator, "predict"):
        return {"prediction": "predict"}
    return {"features": "transform"}


def _graph(estimator: Any, columns: Columns, *, classifier: bool) -> onnx.ModelProto:
    options: dict[Any, Any] = {id(estimator): {"zipmap": False}} if classifier else {}
    register_boosters(_modules(estimator))
    ways = [[(spec.name, _type(spec)) for spec in columns.specs]]
    numbers = all(spec.datatype is Datatype.FP32 for spec in columns.specs)
    if numbers and columns.framed:
        # An estimator that takes a frame as one table of numbers: its columns are joined in front of it.
        ways.append([(JOINED, FloatTensorType([None, len(columns.specs)]))])
    reason = ""
    for types in ways:
        for opsets in _OPSETS:
            try:
                made: onnx.ModelProto = skl2onnx.to_onnx(
                    estimator, initial_types=types, options=options, target_opset=dict(opsets), name="model"
                )
            except _CONVERTER_ERRORS as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                continue
            keep_missing_directions(made, estimator)
            names = [spec.name for spec in columns.specs]
            if types[0][0] == JOINED:
                join_columns(made, names)
            rename_inputs(made, names)
            return made
    raise Unsupported(f"{_named(estimator)} has no exact ONNX conversion: {reason}")


def _type(spec: TensorSpec) -> Any:
    if spec.datatype not in _TYPES:
        raise Unsupported(f"Input {spec.name!r} is {spec.datatype}; an estimator takes {', '.join(_TYPES)}.")
    return _TYPES[spec.datatype]([None, *spec.shape[1:]] if len(spec.shape) > 1 else [None, 1])


def _outputs(kind: dict[str, str], graph: onnx.ModelProto) -> dict[str, str]:
    """New name → the graph's own, for outputs of a known meaning."""
    return dict(zip(kind, [output.name for output in graph.graph.output], strict=False))


def _modules(estimator: Any) -> list[str]:
    """Modules of an estimator and of what it is made of."""
    found: list[str] = []
    waiting, seen = [estimator], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or len(seen) > 2_000:
            continue
        seen.add(id(one))
        if hasattr(one, "get_params"):
            found.append(type(one).__module__)
            waiting += [value for value in vars(one).values() if hasattr(value, "get_params") or isinstance(value, list | tuple)]
        elif isinstance(one, list | tuple):
            waiting += [item for item in one if hasattr(item, "get_params") or isinstance(item, list | tuple)]
    return sorted(set(found))


def _named(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return f"{type(estimator).__name__} of {', '.join(type(step).__name__ for _, step in steps)}" if steps else type(estimator).__name__
