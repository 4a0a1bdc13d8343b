"""A model kept as it was brought, for its own library to run: files, signature and the reason why. Confined child only."""

from __future__ import annotations

import shutil

import msgspec

from modelyard.core.errors import InvalidArtifact, InvalidTensor
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.importers.base import Bench, Original
from modelyard.importers.brought import Brought
from modelyard.importers.proof import median_us
from modelyard.importers.samples import Inputs, made_up, one_row
from modelyard.importers.spec import Outcome
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.environments import REQUIREMENTS
from modelyard.runtimes.original import ORIGINALS, RUNTIME, SETTINGS, Settings, declared

HOW = "not converted: runs as it is in a replica process"
_ROWS = 3


def kept(original: Original, bench: Bench, confinement: tuple[str, ...], reason: str) -> Outcome:
    """The artifact in ``made``, tried and timed here unless it brings an environment of its own.

    Raises InvalidArtifact when the library cannot run it on inputs of its signature.
    """
    for left in bench.made.iterdir():
        left.unlink() if left.is_file() else shutil.rmtree(left)
    for path in original.files or Brought(bench.folder).files:
        place = bench.made / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bench.folder / path, place)
    own = (bench.made / REQUIREMENTS).is_file()
    unknown = Signature(inputs=original.inputs, outputs=tuple(_unknown(name) for name in original.names) or original.outputs)
    settings = Settings(
        library=original.library, entry="" if original.whole else bench.part.entry, signature=unknown, options=dict(original.options)
    )
    inputs = _inputs(original, bench, unknown)
    if not original.outputs:
        settings = msgspec.structs.replace(settings, signature=_seen(settings, bench, inputs))
    (bench.made / SETTINGS).write_bytes(msgspec.json.encode(settings))
    after_us = 0.0
    if not own:
        model = RUNTIME.load(bench.made, SETTINGS, LoadOptions(threads=1))
        one = one_row(inputs, model.signature)
        try:
            after_us = round(median_us(lambda: model.infer(one)), 1)
        except InvalidTensor as error:
            raise InvalidArtifact(f"The model cannot be tried: {error.message}") from None
        model.close()
    return Outcome(
        entry=SETTINGS,
        format=RUNTIME.name,
        how=HOW,
        confinement=confinement,
        after_us=after_us,
        environment=dict(original.environment),
        notes=bench.part.notes,
        reason=reason,
    )


def _unknown(name: str) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.BYTES, shape=(-1,))


def _inputs(original: Original, bench: Bench, signature: Signature) -> Inputs:
    if bench.sample is not None:
        return bench.sample.inputs(signature)
    return made_up(signature, original.domains, rows=_ROWS)


def _seen(settings: Settings, bench: Bench, inputs: Inputs) -> Signature:
    """The signature, with outputs as one call of the original gives them."""
    found = ORIGINALS.get(settings.library)(bench.made, settings)(inputs)
    rows = next(iter(inputs.values())).shape[0]
    batched = all(array.ndim and array.shape[0] == rows for array in found.values())
    outputs = tuple(declared(name, array, rows=batched) for name, array in found.items())
    return Signature(inputs=settings.signature.inputs, outputs=outputs)
