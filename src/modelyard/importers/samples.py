"""Inputs to compare two models on: the pusher's rows, or made-up ones from the signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.errors import InvalidData, InvalidTensor, did_you_mean
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.datasets.read import read_table
from modelyard.datasets.table import Column, Table

Inputs = dict[str, Array]
MOST_ROWS = 2_000
MADE_UP_ROWS = 512
_SCALES = (0.1, 1.0, 1.0, 10.0, 100.0)
_VARYING = 8
_FEW, _OTHER = 5, 13


@dataclass(frozen=True, slots=True)
class Domain:
    """Where made-up values of an input make sense."""

    words: tuple[str, ...] = ()
    """Texts to choose from."""
    centers: tuple[float, ...] = ()
    """For numbers: values around which the model decides, for each place of a row."""
    spreads: tuple[float, ...] = ()
    """How far around them, in the same order."""
    highest: int = 1
    """For whole numbers: the largest."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The pusher's rows: a table, or tensors by name."""

    table: Table | None = None
    arrays: Mapping[str, Array] | None = None

    @classmethod
    def read(cls, path: Path, name: str) -> Sample:
        """From a table or an ``.npz``; nothing in it is unpickled.

        Raises InvalidData.
        """
        if not name.lower().endswith(".npz"):
            return cls(table=read_table(path, name=name))
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: np.asarray(archive[key]) for key in archive.files}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InvalidData(f"The sample {name!r} cannot be read as .npz without pickles inside: {error}.") from None
        return cls(arrays={key: value.astype(object) if value.dtype.kind in "SU" else value for key, value in arrays.items()})

    def specs(self) -> tuple[TensorSpec, ...]:
        """Inputs with the names, datatypes and shapes of the sample, rows left open."""
        if self.table is not None:
            return tuple(
                TensorSpec(name=column.name, datatype=Datatype.FP32 if column.is_number else Datatype.BYTES, shape=(-1, 1))
                for column in self.table
            )
        return tuple(_spec_of(name, array) for name, array in (self.arrays or {}).items())

    def inputs(self, signature: Signature, most: int = MOST_ROWS) -> Inputs:
        """The first rows, at most so many, as a model's inputs.

        Raises InvalidData when they do not fit the signature.
        """
        found = self._from_table(signature, self.table, most) if self.table is not None else self._from_arrays(signature, most)
        try:
            signature.check_inputs(found)
        except InvalidTensor as error:
            raise InvalidData(f"The sample does not fit the model: {error.message}") from None
        return found

    def _from_table(self, signature: Signature, table: Table, most: int) -> Inputs:
        table = table.take(np.arange(min(len(table), most)))
        if len(signature.inputs) == 1 and signature.inputs[0].name not in table.names:
            return {signature.inputs[0].name: _joined(table, signature.inputs[0])}
        return {spec.name: _column(table, spec) for spec in signature.inputs}

    def _from_arrays(self, signature: Signature, most: int) -> Inputs:
        arrays = self.arrays or {}
        found: Inputs = {}
        for spec in signature.inputs:
            array = arrays.get(spec.name)
            if array is None and len(arrays) == len(signature.inputs) == 1:
                array = next(iter(arrays.values()))
            if array is None:
                raise InvalidData(f"The sample has no array {spec.name!r}.{did_you_mean(spec.name, arrays)} It has {', '.join(arrays)}.")
            kept = array[:most] if signature.batched else array
            found[spec.name] = kept if spec.datatype is Datatype.BYTES else np.ascontiguousarray(kept.astype(NUMPY[spec.datatype]))
        return found


def made_up(
    signature: Signature, domains: Mapping[str, Domain], *, rows: int = MADE_UP_ROWS, seed: int = 7, varying: int = _VARYING
) -> Inputs:
    """Rows that fit the signature, the same every time; open sizes other than that of rows are ``varying``."""
    random = np.random.default_rng(seed)
    first = (rows,) if signature.batched else ()
    found: Inputs = {}
    for spec in signature.inputs:
        rest = tuple(size if isinstance(size, int) and size >= 0 else varying for size in spec.shape[len(first) :])
        found[spec.name] = _tensor(spec, (*first, *rest), domains.get(spec.name, Domain()), random)
    return found


def resized(signature: Signature, domains: Mapping[str, Domain]) -> Inputs:
    """A few rows with other open sizes than usual; none where only the number of rows is open."""
    if not any(size == -1 for spec in signature.inputs for size in spec.wire_shape[1:]):
        return {}
    return made_up(signature, domains, rows=_FEW, varying=_OTHER)


def one_row(inputs: Inputs, signature: Signature) -> Inputs:
    """The first row; everything where rows cannot be told apart."""
    return {name: np.ascontiguousarray(array[:1]) for name, array in inputs.items()} if signature.batched else inputs


def with_missing(inputs: Inputs, signature: Signature) -> Inputs:
    """The first rows again, in each one value missing: NaN or ``""``."""
    floats = [spec.name for spec in signature.inputs if spec.datatype.is_float or spec.datatype is Datatype.BYTES]
    found = {name: array[:64].copy() for name, array in inputs.items()}
    rows = next(iter(found.values())).shape[0]
    flat = {name: found[name].reshape(rows, -1) for name in floats}
    flat = {name: array for name, array in flat.items() if array.size}
    names = list(flat)
    for row in range(rows if names else 0):
        array = flat[names[row % len(names)]]
        array[row, (row // len(names)) % array.shape[1]] = "" if array.dtype == object else np.nan
    return found if names else {}


def has_missing(inputs: Inputs) -> bool:
    """Whether a value is missing: NaN or ``""``."""
    return any(
        bool((array == "").any()) if array.dtype == object else array.dtype.kind == "f" and bool(np.isnan(array).any())
        for array in inputs.values()
    )


def _tensor(spec: TensorSpec, shape: tuple[int, ...], domain: Domain, random: np.random.Generator) -> Array:
    if spec.datatype is Datatype.BYTES:
        words = np.array(domain.words or ("a", "b", ""), dtype=object)
        made = np.empty(shape, object)
        made[...] = words[random.integers(0, len(words), size=shape)]
        return made
    if not spec.datatype.is_float:
        return np.asarray(random.integers(0, domain.highest + 1, size=shape), NUMPY[spec.datatype])
    values = random.standard_normal(shape)
    if domain.centers and shape[-1:] == (len(domain.centers),):
        return np.asarray(np.array(domain.centers) + values * 1.5 * np.array(domain.spreads), NUMPY[spec.datatype])
    scales = np.array(_SCALES)[random.integers(0, len(_SCALES), size=shape[:1])]
    return np.asarray(values * scales.reshape(-1, *([1] * (len(shape) - 1))), NUMPY[spec.datatype])


def _spec_of(name: str, array: Array) -> TensorSpec:
    datatype = Datatype.BYTES if array.dtype == object else next((kind for kind, dtype in NUMPY.items() if dtype == array.dtype), None)
    if datatype is None or not array.ndim:
        raise InvalidData(f"The array {name!r} of the sample is {array.dtype} of shape {list(array.shape)}, which no model takes.")
    wanted = Datatype.FP32 if datatype == Datatype.FP64 else Datatype(datatype)
    return TensorSpec(name=name, datatype=wanted, shape=(-1, *array.shape[1:]))


def _joined(table: Table, spec: TensorSpec) -> Array:
    texts = [column.name for column in table if not column.is_number]
    width = spec.wire_shape[-1] if len(spec.shape) == 2 else -1
    if spec.datatype is Datatype.BYTES:
        return np.stack([_texts(column) for column in table], axis=1)
    if texts or width not in {-1, len(table.columns)}:
        raise InvalidData(
            f"The model takes {width} numbers a row; the sample has {len(table.columns)} columns"
            f"{', of which ' + ', '.join(texts) + ' hold text' if texts else ''}. Give it the model's own columns, without the target."
        )
    return np.stack([column.numbers() for column in table], axis=1).astype(NUMPY[spec.datatype])


def _column(table: Table, spec: TensorSpec) -> Array:
    column = table.column(spec.name)
    if spec.datatype is Datatype.BYTES:
        return _texts(column).reshape(-1, 1) if len(spec.shape) == 2 else _texts(column)
    if not column.is_number:
        raise InvalidData(f"Column {spec.name!r} of the sample holds text, but the model takes numbers there.")
    numbers = column.numbers().astype(NUMPY[spec.datatype])
    return numbers.reshape(-1, 1) if len(spec.shape) == 2 else numbers


def _texts(column: Column) -> Array:
    if not column.is_number:
        return column.texts()
    return np.array(["" if np.isnan(value) else f"{value:g}" for value in column.values], dtype=object)
