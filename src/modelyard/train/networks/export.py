"""From a trained PyTorch network to ONNX nodes that a larger graph takes in."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Sequence

import torch
from onnx import ModelProto
from torch import Tensor, nn

OPSET = 18
"""Old enough for widespread runtimes, new enough for everything that networks need."""
_TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")
"""What tells of each step of an export; a job's log is for its owner."""


def to_onnx(module: nn.Module, inputs: Sequence[Tensor], *, longest: int = 0) -> ModelProto:
    """The network as a graph with the inputs ``input0`` … and the output ``scores``; the first dimension varies.

    With ``longest`` the second one does too, up to so many, and is the same for all inputs.

    Nothing of this machine stays in it: no paths, no traces. Raises RuntimeError when PyTorch cannot export the network.
    """
    module = module.to("cpu").eval()
    free: dict[int, object] = {0: torch.export.Dim("rows", min=1, max=1 << 24)}
    if longest:
        free[1] = torch.export.Dim("length", min=1, max=longest)
    shapes: tuple[object, ...] = tuple(dict(free) for _ in inputs)
    if any(given.kind is inspect.Parameter.VAR_POSITIONAL for given in inspect.signature(module.forward).parameters.values()):
        shapes = (shapes,)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Deprecations between PyTorch and onnxscript are not the owner's concern; the proof decides.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"input{at}" for at in range(len(inputs))],
            output_names=["scores"],
            dynamic_shapes=shapes,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("PyTorch gave no graph")
    model = program.model_proto
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    return model
