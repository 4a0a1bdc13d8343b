"""Where trees send rows with a missing value: scikit-learn decides it node by node, and its converter leaves it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper

_TRACKS = "nodes_missing_value_tracks_true"


def keep_missing_directions(graph: onnx.ModelProto, estimator: Any) -> None:
    """Writes the directions into the graph's nodes of trees, where these can be matched with the estimator's trees one by one.

    Where they cannot, the graph stays as it is, and the proof says whether that matters.
    """
    trees = list(_trees(estimator))
    for node in graph.graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        sizes = np.unique(np.array(attributes["nodes_treeids"].ints), return_counts=True)[1].tolist()
        mine, trees = trees[: len(sizes)], trees[len(sizes) :]
        if [len(directions) for directions in mine] != sizes:
            return
        values = np.concatenate(mine).tolist()
        kept = [attribute for attribute in node.attribute if attribute.name != _TRACKS]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(_TRACKS, values)])


def _trees(estimator: Any) -> Iterator[Any]:
    """For each tree, whether a missing value goes left, node by node; left is where a node's condition is true."""
    if getattr(estimator, "steps", None):
        for _, step in estimator.steps:
            yield from _trees(step)
    elif getattr(estimator, "estimators_", None) is not None:
        for inner in np.ravel(np.asarray(estimator.estimators_, dtype=object)):
            yield from _trees(inner)
    elif hasattr(estimator, "tree_"):
        nodes = estimator.tree_.__getstate__()["nodes"]
        if "missing_go_to_left" in (nodes.dtype.names or ()):
            yield nodes["missing_go_to_left"].astype(np.int64)
