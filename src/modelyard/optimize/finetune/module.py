"""A graph's learnable part as a PyTorch module, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn

from modelyard.optimize.finetune.operators import OPERATORS, Step
from modelyard.optimize.finetune.region import Region
from modelyard.optimize.weights import weight_tensors


class GraphModule(nn.Module):
    """Evaluates a region. Weights that are zero stay zero, so that what was pruned stays pruned."""

    def __init__(self, region: Region, weights: frozenset[str]) -> None:
        """``weights`` are the names of those learned constants whose zeros are meant."""
        super().__init__()
        self._region = region
        self._places = {name: f"value{at}" for at, name in enumerate(region.constants)}
        self._masked = {name for name in region.learned if name in weights and not np.all(region.constants[name])}
        for name, values in region.constants.items():
            tensor = torch.from_numpy(np.array(values)) if values.dtype.kind in "fiub" else torch.zeros(0)
            if name in region.learned:
                self.register_parameter(self._places[name], nn.Parameter(tensor))
            else:
                self.register_buffer(self._places[name], tensor)
            if name in self._masked:
                self.register_buffer(f"{self._places[name]}_kept", tensor != 0)
        self._steps = [(node, _step(node, region)) for node in region.nodes]
        self._softmax = _at_the_end(region)

    def forward(self, *given: Tensor) -> Tensor:
        """All answers side by side, ``[rows, numbers]``; probabilities as their logarithms."""
        values = dict(zip(self._region.given, given, strict=True))
        for node, step in self._steps:
            inputs = [values[name] if name in values else self.value(name) for name in node.input if name]
            if node.output[0] in self._softmax:
                values[node.output[0]] = torch.log_softmax(inputs[0], step.whole("axis", -1))
            else:
                values[node.output[0]] = OPERATORS[node.op_type](step, inputs)
        return torch.cat([values[name].flatten(1) for name in self._region.answers], dim=1)

    def value(self, name: str) -> Tensor:
        """A constant as it is now."""
        place = self._places[name]
        found: Tensor = getattr(self, place)
        return found * getattr(self, f"{place}_kept") if name in self._masked else found

    @property
    def gives_logarithms(self) -> bool:
        """Whether all that it answers are probabilities, as logarithms."""
        return bool(self._softmax) and len(self._region.answers) == 1


def module_of(model: ModelProto, region: Region) -> GraphModule:
    return GraphModule(region, frozenset(tensor.name for tensor in weight_tensors(model.graph)))


def with_learned(model: ModelProto, module: GraphModule, learned: Sequence[str]) -> ModelProto:
    """A copy of the model with what the module has learned."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in copy.graph.node if node.op_type == "Constant"}
    with torch.no_grad():
        for name in learned:
            values = np.ascontiguousarray(module.value(name).detach().cpu().numpy())
            tensors[name].CopyFrom(numpy_helper.from_array(values, tensors[name].name))
    return copy


def _step(node: NodeProto, region: Region) -> Step:
    attributes: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Step(attributes, [region.constants.get(name) for name in node.input])


def _at_the_end(region: Region) -> frozenset[str]:
    """Outputs of the softmaxes that are the graph's only answer, through nothing but Identity."""
    if len(region.answers) != 1:
        return frozenset()
    makers = {name: node for node in region.nodes for name in node.output}
    node = makers.get(region.answers[0])
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    return frozenset(node.output) if node is not None and node.op_type == "Softmax" else frozenset()
