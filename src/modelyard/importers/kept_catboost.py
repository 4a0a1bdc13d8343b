"""CatBoost models that keep their own library. Imported in the confined child only."""

from __future__ import annotations

from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.importers.base import Bench, Original
from modelyard.runtimes.originals.catboost_models import open_model
from modelyard.runtimes.versions import versions


def original(bench: Bench) -> Original:
    """The model itself, whose inputs are its columns: categories and texts as texts, all else as numbers."""
    model = open_model(bench.folder / bench.part.entry)
    spoken = {*model.get_cat_feature_indices(), *model.get_text_feature_indices()}
    names = [name if not name.isdigit() else f"column_{name}" for name in map(str, model.feature_names_)]
    kinds = [Datatype.BYTES if at in spoken else Datatype.FP32 for at in range(len(names))]
    return Original(
        library="catboost",
        files=(bench.part.entry,),
        inputs=tuple(TensorSpec(name=name, datatype=kind, shape=(-1, 1)) for name, kind in zip(names, kinds, strict=True)),
        environment=versions("catboost"),
    )
