"""What a user's Python class takes and gives: read from its ``signature``, or from the annotations of its methods.

A type is written ``FP32``, ``FP32[28,28]`` or ``BYTES[-1]``: the shape of **one row**; the dimension of rows is put in front. Python's own
types stand for the usual ones.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.core.errors import InvalidArtifact
from modelyard.core.signature import Dimension, Signature, TensorSpec
from modelyard.core.tensors import Datatype

OUTPUT = "output"
"""Name of the output of a method that returns one unnamed value."""
_WRITTEN = re.compile(r"([A-Z0-9]+)(?:\[([^\]]*)\])?")
_PLAIN: Mapping[Any, tuple[Datatype, tuple[Dimension, ...]]] = {
    float: (Datatype.FP64, ()),
    int: (Datatype.INT64, ()),
    bool: (Datatype.BOOL, ()),
    str: (Datatype.BYTES, ()),
    bytes: (Datatype.BYTES, ()),
}
_ADVICE = 'write it as float, int, bool, str, list[...], or Annotated[numpy.ndarray, "FP32[28,28]"], or give the class a signature'


def signature_of(model: type, method: Callable[..., Any]) -> Signature:
    """The signature of a class whose rows go through ``method``.

    Raises InvalidArtifact that says what to write.
    """
    written = getattr(model, "signature", None)
    if written is not None:
        return _written(model.__name__, written)
    where = f"{model.__name__}.{method.__name__}"
    try:
        hints = typing.get_type_hints(method, include_extras=True)
    except (NameError, TypeError) as error:
        raise InvalidArtifact(f"The annotations of {where} cannot be read: {error}.") from None
    parameters = [item for item in inspect.signature(method).parameters.values() if item.name != "self"]
    inputs = tuple(_input(where, item, hints.get(item.name)) for item in parameters)
    if not inputs:
        raise InvalidArtifact(f"{where} takes no inputs; give it a parameter for each input of the model.")
    return Signature(inputs=inputs, outputs=_outputs(where, hints.get("return")))


def parse_type(text: str) -> tuple[Datatype, tuple[Dimension, ...]]:
    """Datatype and row shape that ``FP32[28,28]`` means.

    Raises ValueError.
    """
    found = _WRITTEN.fullmatch(text.replace(" ", ""))
    if found is None or found[1] not in Datatype.__members__:
        raise ValueError(f"{text!r} is no type; write one of {', '.join(Datatype)}, with the shape of a row like FP32[28,28]")
    sizes = found[2].split(",") if found[2] else []
    return Datatype(found[1]), tuple([int(size) if size.lstrip("-").isdigit() else size for size in sizes])


def _written(name: str, written: Any) -> Signature:
    if isinstance(written, Signature):
        return written
    if not isinstance(written, Mapping) or set(written) - {"inputs", "outputs", "classes"} or not {"inputs", "outputs"} <= set(written):
        raise InvalidArtifact(
            f'{name}.signature must be like {{"inputs": {{"x": "FP32[4]"}}, "outputs": {{"y": "FP32"}}}}; shapes are those of one row.'
        )
    try:
        inputs, outputs = (tuple([_spec(key, *parse_type(text)) for key, text in written[kind].items()]) for kind in ("inputs", "outputs"))
    except (ValueError, AttributeError) as error:
        raise InvalidArtifact(f"{name}.signature cannot be used: {error}.") from None
    return Signature(inputs=inputs, outputs=outputs, classes=tuple(written.get("classes", ())))


def _input(where: str, parameter: inspect.Parameter, hint: Any) -> TensorSpec:
    if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
        raise InvalidArtifact(f"{where} takes *{parameter.name}; name each input, or give the class a signature.")
    if hint is None:
        raise InvalidArtifact(f"The parameter {parameter.name!r} of {where} has no type; {_ADVICE}.")
    return _spec(parameter.name, *_type(f"parameter {parameter.name!r} of {where}", hint))


def _outputs(where: str, hint: Any) -> tuple[TensorSpec, ...]:
    if hint is None or hint is type(None):
        raise InvalidArtifact(f"{where} does not say what it returns; {_ADVICE}.")
    named = typing.get_type_hints(hint, include_extras=True) if isinstance(hint, type) and hint not in _PLAIN else {}
    if named:  # a TypedDict, NamedTuple or data class
        return tuple([_spec(name, *_type(f"field {name!r} of what {where} returns", kind)) for name, kind in named.items()])
    return (_spec(OUTPUT, *_type(f"return value of {where}", hint)),)


def _type(what: str, hint: Any) -> tuple[Datatype, tuple[Dimension, ...]]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type(typing.Annotated[int, 0])):
        text = next((item for item in typing.get_args(hint)[1:] if isinstance(item, str)), "")
        try:
            return parse_type(text)
        except ValueError as error:
            raise InvalidArtifact(f"The {what} cannot be used: {error}.") from None
    if typing.get_origin(hint) is list:
        datatype, shape = _type(what, typing.get_args(hint)[0])
        return datatype, (-1, *shape)
    shown = getattr(hint, "__name__", str(hint))
    raise InvalidArtifact(f"The {what} is {shown}, which says no datatype; {_ADVICE}.")


def _spec(name: str, datatype: Datatype, shape: tuple[Dimension, ...]) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(-1, *shape))
