"""What the confined child of a language model's optimization does: it compresses weights, and judges what comes of it beside the parent."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.engines.confined import REQUEST, STAGE, Errand
from modelyard.optimize.language.compress import Compression, compress
from modelyard.optimize.language.text import Text, brought_text, compare, held_out_text, log_probabilities, made_up, race
from modelyard.optimize.measure import latency
from modelyard.optimize.spec import Made, OptimizeSpec, Request
from modelyard.optimize.verdict import reasons_against
from modelyard.runtimes.generative.adapters import ADAPTER
from modelyard.runtimes.openvino import PagedDecoder, read_context_length

_BLOCKS = (32, 64, 128)
_AT_ONCE = (1, 32)


@dataclass(frozen=True)
class _Side:
    """The version or a child of it, loaded as a replica has it, with what it said of the text."""

    path: Path
    decoder: PagedDecoder
    said: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path, text: Text) -> _Side:
        decoder = PagedDecoder(path, 1, read_context_length(path.parent))
        return cls(path, decoder, log_probabilities(decoder, text))

    def facts(self) -> dict[str, Any]:
        size = sum(file.stat().st_size for file in self.path.parent.rglob("*") if file.is_file())
        return {"size_bytes": size, "nodes": len(ov.Core().read_model(self.path).get_ops())}


def run(folder: Path, _confinement: tuple[str, ...]) -> bytes:
    """A list of ``Made``, encoded; files are in ``folder / "output"``.

    Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    errand = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Errand)
    request = msgspec.json.decode(errand.details, type=Request)
    spec = request.spec
    chosen = [read_compression(written, f"{spec.model}@{spec.number}") for written in spec.passes]
    source = Path(request.parent) / spec.entry
    if (source.parent / ADAPTER).is_dir():
        raise Unsupported(
            f"{spec.model}@{spec.number} is an adapter on another version; optimize that one, and train the adapter on the child."
        )
    text = _text(request, source.parent)
    parent = _Side.load(source, text)
    made: list[Made] = []
    for at, (written, compression) in enumerate(zip(spec.passes, chosen, strict=True)):
        (folder / STAGE).write_text(f"{written}\n{0.05 + 0.9 * at / len(spec.passes):.3f}\napplying {written} and measuring it")
        target = folder / "output" / str(at) / "artifact"
        notes = _written(source, target, compression, f"The pass {written!r} cannot be applied to {spec.model}@{spec.number}")
        child = _Side.load(target / spec.entry, text)
        report = _measured(parent, child, text) | {"notes": {"weights_kept": notes}, "exact": False}
        made.append(_judged(spec, written, report))
        child.decoder.close()
        source = child.path
    return msgspec.json.encode(made)


def read_compression(written: str, whose: str) -> Compression:
    """``int8``, ``int4`` or ``int4:64``. Raises Unsupported for other passes, InvalidRequest for another block."""
    name, _, argument = written.partition(":")
    if name not in {"int8", "int4"}:
        raise Unsupported(
            f"The pass {written!r} cannot be applied to {whose}: a language model's weights take int8 and int4, like int4:64."
        )
    if name == "int8":
        if argument:
            raise InvalidRequest(f"The weights of a language model take int8 as it is, without ':{argument}'.")
        return Compression(8)
    if argument and (not argument.isdecimal() or int(argument) not in _BLOCKS):
        raise InvalidRequest(
            f"The pass 'int4' of a language model has blocks of {', '.join(map(str, _BLOCKS))} weights; it got {argument!r}."
        )
    return Compression(4, int(argument) if argument else _BLOCKS[0])


def _text(request: Request, folder: Path) -> Text:
    spec, context_length = request.spec, read_context_length(folder)
    tokenizer = folder / "tokenizer.json"
    if spec.samples is not None:
        return brought_text(Path(request.samples), spec.samples.filename, tokenizer, context_length)
    if spec.rows is not None:
        recipe = Path(request.recipe).read_text(encoding="utf-8")
        return held_out_text(Path(request.data), spec.rows.filename, recipe, tokenizer, context_length)
    outputs = ov.Core().read_model(folder / spec.entry).outputs
    return made_up(int(outputs[0].partial_shape[-1].get_length()), context_length)


def _written(source: Path, target: Path, compression: Compression, refusal: str) -> dict[str, Any]:
    """The child as it will be stored; which matrices keep how many bits."""
    target.mkdir(parents=True)
    model = ov.Core().read_model(source)
    counts = compress(model, compression)
    if not counts:
        raise Unsupported(f"{refusal}: no matrix of it has weights of floating point; they are whole numbers already.")
    ov.serialize(model, target / source.name, (target / source.name).with_suffix(".bin"))
    for file in source.parent.iterdir():
        if file.is_file() and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
    return {"matrices": counts, "block": compression.block}


def _measured(parent: _Side, child: _Side, text: Text) -> dict[str, Any]:
    report: dict[str, Any] = {"parent": parent.facts(), "child": child.facts(), "races": {}}
    for sequences in _AT_ONCE:
        run = race(parent.decoder, child.decoder, sequences, text.windows[0])
        report["races"][str(sequences)] = run.report()
        report["parent"][f"batch_{sequences}"] = latency(run.parent, sequences)
        report["child"][f"batch_{sequences}"] = latency(run.child, sequences)
    apart = float(np.abs(parent.said - child.said).max())
    report["difference"] = {"log_probability": {"largest": apart, "relative": apart / float(np.abs(parent.said).max())}}
    report["quality"] = compare(parent.said, child.said) if text.known else None
    return report


def _judged(spec: OptimizeSpec, written: str, report: dict[str, Any]) -> Made:
    reasons = reasons_against(report, spec.tolerance)
    report["verdict"] = {"kept": not reasons, "reasons": reasons, "tolerance": msgspec.to_builtins(spec.tolerance)}
    metrics = {"nats_per_token": report["quality"]["child"]["value"]} if report["quality"] else {}
    return Made(written=written, report=report, metrics=metrics)
