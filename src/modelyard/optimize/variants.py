"""Which variants of a quantization lose little enough to be worth measuring; kinds of operators that lose the most are left as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from onnx import ModelProto

from modelyard.core.tensors import Array
from modelyard.optimize.base import Calibration
from modelyard.optimize.quantizing import PRODUCTS, Quantizer, Variant
from modelyard.optimize.sensitive import answers_of, loss_between
from modelyard.runtimes.onnx import ERRORS

_MOST_KINDS = 3
"""Left out of a variant."""


@dataclass(frozen=True)
class Quantized:
    """A model, and what it loses on training rows."""

    model: ModelProto
    loss: float


@dataclass
class Trials:
    """Variants one after another, all judged on the same rows."""

    parent: ModelProto
    calibration: Calibration
    quantizer: Quantizer
    most: float
    """That may be lost."""
    refused: dict[str, str] = field(default_factory=dict)
    """By title, why not."""
    _before: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        self._before = answers_of(self.parent, self.calibration)

    def of(self, variant: Variant, gone: Collection[str]) -> dict[str, Quantized]:
        """The variant by its title, without the nodes that are ``gone``; nothing where it cannot be, or loses too much."""
        try:
            found = self._made(variant, gone, ())
            if found.loss <= self.most:
                return {variant.title: found}
            self.refused[variant.title] = f"loses {found.loss:.4g} on training rows"
            return self._sparing(variant, gone) if variant.everything and variant.per_channel else {}
        except ERRORS as error:
            self.refused[variant.title] = f"not possible for this graph: {' '.join(str(error).split())[:200]}"
            return {}

    def _sparing(self, variant: Variant, gone: Collection[str]) -> dict[str, Quantized]:
        """The same without the kinds of operators whose leaving out saves the most, one kind after another."""
        kinds = {node.op_type for node in self.quantizer.nodes(variant)} - set(PRODUCTS)
        spared: tuple[str, ...] = ()
        while kinds and len(spared) < _MOST_KINDS:
            found = {kind: self._made(variant, gone, (*spared, kind)) for kind in sorted(kinds)}
            best = min(found, key=lambda kind: found[kind].loss)
            spared = (*spared, best)
            kinds.remove(best)
            if found[best].loss <= self.most:
                return {f"{variant.title} but {', '.join(spared)}": found[best]}
        return {}

    def _made(self, variant: Variant, gone: Collection[str], spared: Collection[str]) -> Quantized:
        names = [node.name for node in self.quantizer.nodes(variant) if node.name not in gone and node.op_type not in spared]
        model = self.quantizer.quantize(variant, names)
        return Quantized(model, loss_between(self.calibration, self._before, answers_of(model, self.calibration)))
