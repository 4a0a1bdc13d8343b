"""Fine-tuning: the loop of training, on a graph's own constants, with the answers of the version it was made of as the teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto
from torch import Tensor

from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.tensors import Array
from modelyard.datasets.split import hold_out
from modelyard.optimize.base import Lessons, Work
from modelyard.optimize.finetune.module import module_of, with_learned
from modelyard.optimize.finetune.region import Region, region_of
from modelyard.train.cores import cores
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.imitation import ImitatedClasses, ImitatedNumbers
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Objective
from modelyard.train.recipes.learning import Learning, Optimizer, Schedule

_SEED = 0
_VALIDATION = 0.1
_RATE = 1e-3
_BATCHES = 100
"""An epoch has about as many steps, between the batches of 16 and 256 rows."""
_AT_ONCE = 512
_MOST_BYTES = 1 << 30
"""Of what the rows are made into before the first weights."""
Rows = NDArray[np.intp]


def finetune(model: ModelProto, work: Work, epochs: int) -> tuple[ModelProto, dict[str, Any]]:
    """The model with weights learned anew, and how that went; where nothing got better on rows set aside, the model as it was.

    Raises Unsupported where what comes before the weights does not treat rows one by one.
    """
    if work.lessons is None:
        raise Unsupported("Fine-tuning needs training rows to learn from.")
    region = region_of(model)
    lessons = _bounded(model, region, work.lessons)
    features = _answers(model, region.given, lessons)
    teacher = _answers(work.origin or model, region.answers, lessons)
    module = module_of(model, region)
    targets, objective, scale = _targets(module.gives_logarithms, teacher, lessons)
    learn, validate = hold_out(lessons.rows, _VALIDATION, _SEED)
    device = choose_device("float32")
    scale = None if scale is None else scale.to(device.name)
    learner = Learner(_Scaled(module, scale), objective, _learning(len(learn), epochs), device, None, seed=_SEED)
    examples = [_Examples(features, targets, rows) for rows in (learn, validate)]
    before = learner.judge(examples[1])
    try:
        fit = learner.fit(examples[0], examples[1], lambda *_: None)
    except ModelyardError as error:
        raise Unsupported(f"Fine-tuning does not work on this model: {error.message}") from None
    after = learner.judge(examples[1])
    better = after["validation_loss"] < before["validation_loss"]
    facts = {
        "rows": len(learn),
        "loss_before": before["validation_loss"],
        "loss_after": after["validation_loss"],
        "best_epoch": fit.best_epoch,
        "kept": better,
    }
    module.to("cpu")
    return with_learned(model, module, region.learned) if better else model, facts


class _Scaled(torch.nn.Module):
    """Numbers in deviations of the teacher's, so that outputs of all sizes count alike."""

    def __init__(self, inner: torch.nn.Module, scale: Tensor | None) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, *given: Tensor) -> Tensor:
        found: Tensor = self.inner(*given)
        return found if self.scale is None else found / self.scale


class _Examples:
    """Rows as they stand before the first weights, for the loop."""

    def __init__(self, features: list[Tensor], targets: Tensor, rows: Rows) -> None:
        self._features, self._targets, self._rows = features, targets, torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, rows: Rows, random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random
        chosen = self._rows[torch.from_numpy(rows)]
        return tuple(part[chosen] for part in self._features), self._targets[chosen]


def _learning(rows: int, epochs: int) -> Learning:
    return Learning(
        epochs=epochs,
        batch_size=min(256, max(16, rows // _BATCHES)),
        optimizer=Optimizer(kind="adam", learning_rate=_RATE, l2=0.0),
        schedule=Schedule(kind="cosine", warmup=0.05),
        patience=None,
    )


def _targets(logarithms: bool, teacher: list[Tensor], lessons: Lessons) -> tuple[Tensor, Objective, Tensor | None]:
    """What is to be learned, and in which unit; labels count where the only answer is their probabilities."""
    found = torch.cat([part.flatten(1) for part in teacher], dim=1).float()
    if logarithms:
        labels = lessons.labels if lessons.labels is not None and found.shape[1] > int(lessons.labels.max(initial=0)) else None
        right = torch.from_numpy(labels.astype(np.float32)) if labels is not None else torch.full((len(found),), -1.0)
        return torch.cat([found, right[:, None]], dim=1), ImitatedClasses(), None
    scale = found.std(dim=0).clamp(min=1e-6)
    return torch.cat([found / scale, torch.full_like(found, torch.nan)], dim=1), ImitatedNumbers(mixing=1.0), scale


def _bounded(model: ModelProto, region: Region, lessons: Lessons) -> Lessons:
    """As many rows as fit into memory."""
    first = Lessons({name: array[:1] for name, array in lessons.inputs.items()})
    each = sum(part.element_size() * part[0].numel() for part in _answers(model, region.given, first)) or 1
    most = max(1, _MOST_BYTES // each)
    if lessons.rows <= most:
        return lessons
    labels = None if lessons.labels is None else lessons.labels[:most]
    return Lessons({name: array[:most] for name, array in lessons.inputs.items()}, labels)


def _answers(model: ModelProto, names: list[str], lessons: Lessons) -> list[Tensor]:
    """Tensors of a graph for all rows: its inputs, its outputs, or what lies in between."""
    wanted = [name for name in names if name not in lessons.inputs]
    found: dict[str, list[Array]] = {name: [lessons.inputs[name]] for name in names if name in lessons.inputs}
    if wanted:
        session = _session(model, wanted)
        taken = {value.name for value in session.get_inputs()}
        for start in range(0, lessons.rows, _AT_ONCE):
            part = {name: array[start : start + _AT_ONCE] for name, array in lessons.inputs.items() if name in taken}
            count = min(_AT_ONCE, lessons.rows - start)
            for name, values in zip(wanted, session.run(wanted, part), strict=True):
                if not values.ndim or len(values) != count:
                    raise Unsupported(f"Fine-tuning does not work on this model: {name!r} has no row for each row that comes in.")
                found.setdefault(name, []).append(values)
    return [torch.from_numpy(np.concatenate(found[name])) for name in names]


def _session(model: ModelProto, outputs: list[str]) -> ort.InferenceSession:
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend([ValueInfoProto(name=name) for name in outputs])
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = cores(), 3
    return ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
