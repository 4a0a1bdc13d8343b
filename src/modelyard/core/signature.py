"""Names, datatypes and shapes of a model's inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from modelyard.core.errors import InvalidTensor, did_you_mean
from modelyard.core.tensors import NUMPY, Array, Datatype

_WRITTEN = re.compile(r"(?P<name>[^:]+):(?P<type>\w+)\[(?P<shape>[^\]]*)\]")
Dimension = int | str
"""A size; ``-1`` for one that varies; a name for one that varies but is equal wherever the name stands."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input or output. ``shape`` includes the batch dimension, which comes first and is usually ``-1``."""

    name: str
    datatype: Datatype
    shape: tuple[Dimension, ...]
    optional: bool = False
    """Whether a call may leave this input out."""
    description: str = ""

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Reads ``name:FP32[-1,4]``; sizes are numbers, -1 or names.

        Raises InvalidTensor that shows the form.
        """
        found = _WRITTEN.fullmatch(text.strip())
        if found is None or found["type"].upper() not in NUMPY:
            raise InvalidTensor(f"{text!r} describes no tensor; write it like x:FP32[-1,4], with one of {', '.join(NUMPY)}.")
        sizes = [size.strip() for size in found["shape"].split(",")] if found["shape"].strip() else []
        shape = tuple(int(size) if size.lstrip("-").isdigit() else size for size in sizes)
        if any(size == "" or (isinstance(size, int) and size < -1) for size in shape):
            raise InvalidTensor(f"The shape of {text!r} cannot be read; write sizes, -1 or names between commas, like [-1,4].")
        return cls(name=found["name"], datatype=Datatype(found["type"].upper()), shape=shape)

    @property
    def wire_shape(self) -> list[int]:
        """The shape as the Open Inference Protocol prints it: every varying dimension is -1."""
        return [size if isinstance(size, int) else -1 for size in self.shape]


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model takes and gives.

    ``classes`` names the columns of a classifier's probabilities, where they are known. ``extras`` are outputs that are computed only
    for a call which asks for them, and for nobody beside it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...] = ()
    extras: tuple[TensorSpec, ...] = ()

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``; raises InvalidTensor, naming the nearest, when there is none."""
        return _named(self.inputs, name, "input")

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``; raises InvalidTensor, naming the nearest, when there is none."""
        return _named(self.outputs, name, "output")

    @property
    def batched(self) -> bool:
        """Whether every input and output begins with a dimension that varies, so that rows can be joined."""
        specs = (*self.inputs, *self.outputs)
        return bool(specs) and all(spec.shape and (isinstance(spec.shape[0], str) or spec.shape[0] == -1) for spec in specs)

    def check_inputs(self, tensors: Mapping[str, Array]) -> int:
        """Checks names, dtypes and shapes of a call's inputs; the size of the batch (1 for an unbatched model).

        Raises InvalidTensor that names the tensor, what came and what is wanted.
        """
        named: dict[str, int] = {}
        for spec in self.inputs:
            array = tensors.get(spec.name)
            if array is None:
                if spec.optional:
                    continue
                raise _missing(spec, tensors)
            _check(spec, array, named)
        if len(tensors) > len(self.inputs):
            known = {spec.name for spec in self.inputs}
            for name in tensors:
                if name not in known:
                    raise InvalidTensor(
                        f"The model has no input {name!r}.{did_you_mean(name, known)} Its inputs: {', '.join(sorted(known))}."
                    )
        return self.batch_size(tensors)

    def batch_size(self, tensors: Mapping[str, Array]) -> int:
        """Rows in a call: the common first dimension of a batched model, otherwise 1.

        Raises InvalidTensor when the inputs disagree.
        """
        if not self.batched:
            return 1
        size = -1
        for name, array in tensors.items():
            rows = array.shape[0]
            if size >= 0 and rows != size:
                raise InvalidTensor(f"Input {name!r} has {rows} rows, but another input of the call has {size}; all must have the same.")
            size = rows
        return max(size, 0)


def _named(specs: tuple[TensorSpec, ...], name: str, kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    known = [spec.name for spec in specs]
    raise InvalidTensor(f"The model has no {kind} {name!r}.{did_you_mean(name, known)} Its {kind}s: {', '.join(known)}.")


def _missing(spec: TensorSpec, tensors: Mapping[str, Array]) -> InvalidTensor:
    hint = did_you_mean(spec.name, tensors)
    return InvalidTensor(f"Input {spec.name!r} ({spec.datatype}, shape {spec.wire_shape}) is missing from the call.{hint}")


def _check(spec: TensorSpec, array: Array, named: dict[str, int]) -> None:
    if array.dtype != NUMPY[spec.datatype] and not (spec.datatype is Datatype.BYTES and array.dtype.kind in "SU"):
        raise InvalidTensor(f"Input {spec.name!r} wants datatype {spec.datatype}, but {array.dtype} came.")
    shape = array.shape
    if len(shape) != len(spec.shape):
        raise InvalidTensor(f"Input {spec.name!r} wants {len(spec.shape)} dimensions {spec.wire_shape}, but shape {list(shape)} came.")
    for wanted, got in zip(spec.shape, shape, strict=True):
        if isinstance(wanted, str):
            if named.setdefault(wanted, got) != got:
                raise InvalidTensor(
                    f"Input {spec.name!r} has {got} in dimension {wanted!r}, but another input of the call has {named[wanted]};"
                    " they must agree."
                )
        elif wanted >= 0 and wanted != got:
            raise InvalidTensor(f"Input {spec.name!r} wants shape {spec.wire_shape}, but {list(shape)} came.")
