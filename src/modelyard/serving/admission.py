"""The check of a call's inputs against a signature, compiled for the common case."""

from __future__ import annotations

from modelyard.core.signature import Signature
from modelyard.core.tensors import NUMPY, Array
from modelyard.serving.replica import rows_are_alike


class InputCheck:
    """Says how many rows a call has, or why it does not fit.

    Where the signature fixes all but the number of rows, a comparison of dtypes and shapes is enough; anything that differs goes
    to ``Signature.check_inputs``, which accepts or names what is wrong.
    """

    __slots__ = ("_expected", "_signature")

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._expected = (
            [(spec.name, NUMPY[spec.datatype], len(spec.shape), spec.shape[1:]) for spec in signature.inputs]
            if signature.batched and rows_are_alike(signature)
            else []
        )

    def rows(self, inputs: dict[str, Array]) -> int:
        """Rows of the call.

        Raises InvalidTensor.
        """
        expected = self._expected
        if len(inputs) != len(expected):
            return self._signature.check_inputs(inputs)
        rows = -1
        for name, dtype, rank, trailing in expected:
            array = inputs.get(name)
            if array is None or array.dtype is not dtype:
                return self._signature.check_inputs(inputs)
            shape = array.shape
            if len(shape) != rank or shape[1:] != trailing or (rows >= 0 and shape[0] != rows):
                return self._signature.check_inputs(inputs)
            rows = shape[0]
        return rows if expected else self._signature.check_inputs(inputs)
