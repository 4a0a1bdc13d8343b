"""The last touches to a converted graph: outputs by the names that the platform uses, class names, one file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from modelyard.runtimes.onnx import CLASSES

_PRODUCER = "modelyard import"
JOINED = "modelyard_joined"
"""Name of the one input of a graph in front of which columns are joined."""
_WORD = re.compile(r"[A-Za-z_]\w*")
_LOCALE = "C.UTF-8"
"""Of nodes that change the case of text: converters ask for one that few servers have installed."""
_INLINE_LIMIT = 1 << 30
"""Weights beyond it go to a file beside the graph: a graph itself cannot exceed 2 GiB."""


def finish(graph: onnx.ModelProto, path: Path, outputs: Mapping[str, str], classes: Sequence[str] = ()) -> None:
    """Renames outputs (new name → old), drops the graph's other outputs, and writes the file."""
    old = {value: name for name, value in outputs.items()}
    kept = [output for output in graph.graph.output if output.name in old]
    taken = {name for node in graph.graph.node for name in (*node.input, *node.output)} | {item.name for item in graph.graph.input}
    for output in kept:
        new = old[output.name]
        if new == output.name:
            continue
        if new in taken:
            _rename(graph.graph, new, f"{new}.inner")
        _rename(graph.graph, output.name, new)
        output.name = new
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    _same_rows(graph.graph)
    properties = {item.key: item.value for item in graph.metadata_props}
    if classes:
        properties[CLASSES] = json.dumps(list(classes))
    helper.set_model_props(graph, properties)
    graph.producer_name = _PRODUCER
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":
            _set(node, "locale", _LOCALE)
    save(graph, path)


def join_columns(graph: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Puts one input a column, FP32 [rows, 1], in place of the graph's one input."""
    del graph.graph.input[:]
    graph.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names)
    graph.graph.node.insert(0, helper.make_node("Concat", list(names), [JOINED], axis=1, name=JOINED))
    return graph


def rename_inputs(graph: onnx.ModelProto, names: Sequence[str]) -> None:
    """Gives the inputs these names, in order: converters change what they do not like."""
    for value, name in zip(graph.graph.input, names, strict=True):
        if value.name != name:
            _rename(graph.graph, value.name, name)
            value.name = name


def name_sizes(path: Path) -> None:
    """Gives open sizes names that say where they come from, in place of an exporter's numbers: ``rows``, or input and axis."""
    graph = onnx.load(path)
    names: dict[str, str] = {}
    for value in graph.graph.input:
        for at, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param:
                names.setdefault(size.dim_param, "rows" if at == 0 else f"{value.name}_{at}")
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = _WORD.sub(lambda found: names.get(found[0], found[0]), size.dim_param)
    save(graph, path)


def save(graph: onnx.ModelProto, path: Path) -> None:
    """Writes a graph; large weights beside it."""
    if graph.ByteSize() > _INLINE_LIMIT:
        onnx.save(
            graph, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.stem}.weights", size_threshold=1024
        )
    else:
        onnx.save(graph, path)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Everywhere in a graph and in the graphs inside its nodes."""
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, old, new)


def _same_rows(graph: onnx.GraphProto) -> None:
    """Leaves the number of rows open in every output, as in the inputs: some converters leave out or fix what they do not know."""
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim:
            shape.dim[0].Clear()
            shape.dim[0].dim_param = "rows"


def _set(node: onnx.NodeProto, name: str, value: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
