"""What happens to an image before the network: as ONNX nodes, and run by ONNX Runtime while a set is read.

One definition serves both, so that an image of any size becomes the same pixels in training and in service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from modelyard.datasets.images.decode import Pixels
from modelyard.datasets.images.read import Layout
from modelyard.train.networks.export import OPSET
from modelyard.train.parts import IR_VERSION, Parts

INPUT = "image"


@dataclass(frozen=True)
class Scaling:
    """``(pixel - shift) * factor``, one element a channel; learned from the training images."""

    shift: NDArray[np.float32]
    factor: NDArray[np.float32]

    def apply(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` from 0 to 255."""
        return (images - torch.from_numpy(self.shift)[:, None, None]) * torch.from_numpy(self.factor)[:, None, None]


def learn_scaling(images: NDArray[np.uint8], rows: NDArray[np.intp]) -> Scaling:
    """Mean 0 and deviation 1 in every channel over these rows."""
    counts = np.zeros((images.shape[3], 256), np.int64)
    for row in rows:
        for channel in range(images.shape[3]):
            counts[channel] += np.bincount(images[row, :, :, channel].ravel(), minlength=256)
    values = np.arange(256, dtype=np.float64)
    total = counts.sum(axis=1)
    mean = counts @ values / total
    deviation = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0))
    return Scaling(mean.astype(np.float32), (1.0 / np.maximum(deviation, 1.0)).astype(np.float32))


def input_info(layout: Layout) -> Any:
    """The graph's one input: bytes as an image file holds them, of any size where sizes vary."""
    size = ["height", "width"] if layout.mixed else [layout.height, layout.width]
    return helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["rows", *size, layout.channels])


def scaled(parts: Parts, layout: Layout, scaling: Scaling) -> str:
    """The name of what the network takes."""
    pixels = _plain(parts, _resized(parts, layout.height, layout.width) if layout.mixed else INPUT)
    shifted = parts.node("Sub", [pixels, parts.constant("shift", scaling.shift.reshape(1, -1, 1, 1))], "shifted")
    return parts.node("Mul", [shifted, parts.constant("factor", scaling.factor.reshape(1, -1, 1, 1))], "scaled")


class Resizer:
    """Brings images to a size, with the nodes that a served graph has. Safe to use from several threads."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, int, int], ort.InferenceSession] = {}

    def __call__(self, image: Pixels, height: int, width: int) -> Pixels:
        key = (height, width, image.shape[2])
        if key not in self._sessions:
            self._sessions[key] = _session(*key)
        (resized,) = self._sessions[key].run(None, {INPUT: image[None]})
        bytes_: Pixels = resized[0]
        return bytes_


def _session(height: int, width: int, channels: int) -> ort.InferenceSession:
    parts = Parts([INPUT])
    output = _resized(parts, height, width)
    graph = helper.make_graph(
        parts.nodes,
        "resize",
        [input_info(Layout(height, width, channels, mixed=True))],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, ["rows", height, width, channels])],
        initializer=parts.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _plain(parts: Parts, image: str = INPUT) -> str:
    numbers = parts.node("Cast", [image], "numbers", to=TensorProto.FLOAT)
    return parts.node("Transpose", [numbers], "channels", perm=[0, 3, 1, 2])


def _resized(parts: Parts, height: int, width: int) -> str:
    """Bytes stretched to the size, averaging where it shrinks: an image of this size stays what it is."""
    return parts.node(
        "Resize",
        [INPUT, "", "", parts.constant("size", np.array([height, width], np.int64))],
        "resized",
        mode="linear",
        antialias=1,
        exclude_outside=1,  # borders as Pillow has them
        axes=[1, 2],
    )
