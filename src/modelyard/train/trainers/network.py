"""Feed-forward networks in PyTorch, with the loss and the steps that the recipe says. Tried when the recipe names them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from pydantic import ValidationError
from torch import Tensor, nn

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.datasets.prepare import Matrix
from modelyard.datasets.split import hold_out
from modelyard.train.networks.architectures.tables import feedforward
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.lesson import Lesson, Site
from modelyard.train.networks.lesson import learn as learn_lesson
from modelyard.train.networks.loop import Fit, Learner
from modelyard.train.networks.objectives import Binary, Classes, Objective, Quantity, class_weights
from modelyard.train.parts import IR_VERSION
from modelyard.train.problem import Task
from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.networks import TableNetwork
from modelyard.train.trainers.base import OPSETS, Fitted, Settings, Shape, Target, Trainer

_LOSSES = {Task.CLASSIFICATION: ("cross_entropy", "binary"), Task.REGRESSION: ("mse", "mae", "huber")}
_AT_ONCE = 8_192


class Network(Trainer):
    title = "Feed-forward network (PyTorch)"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        sizes = ((32,), (64, 32)) if shape.rows < 2_000 else ((128, 64), (256, 128))
        batch = 32 if shape.rows < 2_000 else 256
        learning = {"batch_size": batch, "epochs": 60, "optimizer": {"learning_rate": 0.005}}
        return [{"hidden": list(hidden), "learning": learning} for hidden in sizes]

    def check(self, settings: Settings, shape: Shape) -> None:
        chosen = _read(settings)
        if chosen.loss not in {"auto", *_LOSSES[shape.task]}:
            raise InvalidRequest(f"The loss {chosen.loss!r} does not suit {shape.task}; use one of {', '.join(_LOSSES[shape.task])}.")
        if chosen.learning.engine != "local":
            raise InvalidRequest("A table's network is fitted many times over, which is not for a cluster; leave learning.engine at local.")
        if chosen.loss == "binary" and shape.classes != 2:
            raise InvalidRequest(f"The loss 'binary' is for two classes, and the target has {shape.classes}; use cross_entropy.")

    def fit(self, settings: Settings, shape: Shape, features: Matrix, target: Target) -> Fitted:
        self.check(settings, shape)
        chosen = _read(settings)
        rows = len(features)
        groups = target.astype(np.intp) if shape.task is Task.CLASSIFICATION else None
        learn, validate = hold_out(rows, chosen.learning.validation_size, shape.seed, groups)
        torch.manual_seed(shape.seed)
        outputs = shape.classes if shape.task is Task.CLASSIFICATION and chosen.loss != "binary" else 1
        module = feedforward(shape.features, list(chosen.hidden), outputs, chosen.dropout)
        objective = _objective(chosen, shape, target[learn])
        train, validation = (MatrixExamples(features[part], target[part], shape.task) for part in (learn, validate))
        try:
            fit = _taught(Lesson(module, objective, train, validation, shape.seed), chosen.learning)
        except ModelyardError as error:  # the search reports the family and goes on
            raise ValueError(error.message) from None
        note = f"epoch {fit.best_epoch} of {len(fit.history)} was the best"
        return NetworkFitted(module.to("cpu").eval(), shape, chosen.loss == "binary", (note,))


class MatrixExamples:
    """Rows of a prepared table, for the loop."""

    def __init__(self, features: Matrix, target: Target, task: Task) -> None:
        self._features = torch.from_numpy(np.ascontiguousarray(features))
        self._target = torch.from_numpy(target.astype(np.int64 if task is Task.CLASSIFICATION else np.float32))

    def __len__(self) -> int:
        return len(self._target)

    def batch(self, rows: NDArray[np.intp], random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random  # rows of a table are not varied
        chosen = torch.from_numpy(rows)
        return (self._features[chosen],), self._target[chosen]


@dataclass
class NetworkFitted(Fitted):
    """A trained network."""

    module: nn.Module
    shape: Shape
    binary: bool
    notes: tuple[str, ...] = ()

    def predict(self, features: Matrix) -> NDArray[np.floating]:
        with torch.inference_mode():
            parts = [
                self.module(torch.from_numpy(np.ascontiguousarray(features[at : at + _AT_ONCE])))
                for at in range(0, len(features), _AT_ONCE)
            ]
            scores = torch.cat(parts)
            if self.shape.task is Task.REGRESSION:
                return scores[:, 0].double().numpy()
            if self.binary:
                share = torch.sigmoid(scores)
                return torch.cat([1 - share, share], dim=1).double().numpy()
            return torch.softmax(scores, dim=1).double().numpy()

    def graph(self) -> tuple[ModelProto, str]:
        """Built by hand: layers of this kind are two operators each, and PyTorch's exporter takes seconds for every fit."""
        nodes: list[NodeProto] = []
        constants: list[TensorProto] = []
        name = "features"
        for at, layer in enumerate(module for module in self.module.modules() if isinstance(module, (nn.Linear, nn.ReLU))):
            if isinstance(layer, nn.ReLU):
                nodes.append(helper.make_node("Relu", [name], [f"relu{at}"]))
                name = f"relu{at}"
                continue
            for what, values in (("weight", layer.weight), ("bias", layer.bias)):
                constants.append(numpy_helper.from_array(values.detach().numpy(), f"{what}{at}"))
            nodes.append(helper.make_node("Gemm", [name, f"weight{at}", f"bias{at}"], [f"layer{at}"], transB=1))
            name = f"layer{at}"
        nodes += self._head(name, constants)
        width = 1 if self.shape.task is Task.REGRESSION else self.shape.classes
        graph = helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, self.shape.features])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, width])],
            initializer=constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), "output"

    def _head(self, scores: str, constants: list[TensorProto]) -> list[NodeProto]:
        if self.shape.task is Task.REGRESSION:
            return [helper.make_node("Identity", [scores], ["output"])]
        if not self.binary:
            return [helper.make_node("Softmax", [scores], ["output"], axis=1)]
        constants.append(numpy_helper.from_array(np.array(1.0, np.float32), "one"))
        return [
            helper.make_node("Sigmoid", [scores], ["share"]),
            helper.make_node("Sub", ["one", "share"], ["other"]),
            helper.make_node("Concat", ["other", "share"], ["output"], axis=1),
        ]


def _taught(lesson: Lesson, learning: Learning) -> Fit:
    """In this process, or in as many as the settings say; of a fit in many nothing is kept but what it learned."""
    device = choose_device(learning.precision)
    if learning.workers == 1:
        learner = Learner(lesson.module, lesson.objective, learning, device, None, seed=lesson.seed)
        return learner.fit(lesson.train, lesson.validate, lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        checkpoints = Checkpoints(Path(folder) / "state", "", learning.checkpoint_seconds)
        return learn_lesson(lesson, learning, device, checkpoints, site=Site(Path(folder) / "team"), report=lambda *_: None)


def _read(settings: Settings) -> TableNetwork:
    try:
        return TableNetwork.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"The setting {place!r} of the family 'network' cannot be used: {first['msg']}.") from None


def _objective(chosen: TableNetwork, shape: Shape, target: Target) -> Objective:
    if shape.task is Task.REGRESSION:
        return Quantity("mse" if chosen.loss == "auto" else chosen.loss, chosen.delta)
    counts = np.bincount(target.astype(np.intp), minlength=shape.classes).tolist()
    weights = class_weights(counts, None) if chosen.class_weights == "balanced" else None
    return Binary(weights) if chosen.loss == "binary" else Classes(weights, chosen.label_smoothing)


TRAINER = Network()
