"""A look at the files of a pushed ONNX model, before anything loads them. Imports ``onnx``: for the confined probe only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError

from modelyard.core.errors import InvalidArtifact


def check_onnx(folder: Path, entry: str) -> None:
    """Raises InvalidArtifact unless ``folder / entry`` parses as ONNX and every weight it refers to lies inside ``folder``."""
    path = folder / entry
    _check_inside(folder, entry, "The model file")
    if not path.is_file():
        raise InvalidArtifact(f"The model file {entry!r} is missing from the artifact.")
    if path.stat().st_size == 0:
        raise InvalidArtifact(f"{entry!r} is empty; export or upload it again.")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):
        raise InvalidArtifact(f"{entry!r} is not an ONNX model, or it was cut off on its way; export or upload it again.") from None
    if not model.HasField("graph") or not model.opset_import:
        raise InvalidArtifact(f"{entry!r} holds no ONNX graph; export or upload it again.")
    if not model.graph.output:
        raise InvalidArtifact(f"The graph of {entry!r} has no outputs, so there is nothing to serve.")
    _check_opsets(entry, model)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path.parent, tensor)


def _check_opsets(entry: str, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise InvalidArtifact(f"{entry!r} needs opset {opset.version}, newer than any known here; export it with {newest} or older.")


def _check_external(folder: Path, tensor: onnx.TensorProto) -> None:
    fields = {item.key: item.value for item in tensor.external_data}
    location = fields.get("location", "")
    what = f"The weight {tensor.name!r} refers to external data"
    if not location:
        raise InvalidArtifact(f"{what} without saying where; export the model again.")
    _check_inside(folder, location, what)
    path = folder / location
    if not path.is_file():
        raise InvalidArtifact(f"{what} {location!r}, which was not uploaded; upload it beside the model.")
    try:
        offset, length = int(fields.get("offset") or 0), int(fields.get("length") or 0)
    except ValueError:
        raise InvalidArtifact(f"{what} {location!r} at an offset or length that is not a number; export the model again.") from None
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise InvalidArtifact(f"{what} {location!r} beyond its end; the file was cut off or belongs to another model.")


def _check_inside(folder: Path, location: str, what: str) -> None:
    """A path may not leave the folder by any means: as an absolute path, upwards, or over a link."""
    pure = PurePosixPath(location)
    if pure.is_absolute() or PureWindowsPath(location).is_absolute() or ".." in PureWindowsPath(location).parts or "\0" in location:
        raise InvalidArtifact(f"{what} {location!r}, which leaves the model's folder; put the file beside the model and name it alone.")
    path = folder
    for part in pure.parts:
        path = path / part
        if path.is_symlink():
            raise InvalidArtifact(f"{what} {location!r}, which is a link; upload the file itself.")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor.values
            yield attribute.sparse_tensor.indices
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)
