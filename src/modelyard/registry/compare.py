"""Two versions side by side."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.core.models import ArtifactFile, Version
from modelyard.core.signature import TensorSpec

_LOWER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "mape", "brier", "latency", "_us", "_ms", "bytes")


class MetricPair(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of both versions; None where one lacks it."""

    name: str
    a: float | None
    b: float | None
    change: float | None
    """``b - a``, where both have it."""
    better: str
    """``a`` or ``b``; empty when they are equal, or one lacks it."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field that differs; None where one lacks it."""

    field: str
    a: Any
    b: Any


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What tells two versions apart."""

    a: str
    """Reference, ``name@number``."""
    b: str
    same_content: bool
    compatible: bool
    """Whether calls made for ``a`` are understood by ``b``: equal inputs but for new optional ones, and no output gone or changed."""
    metrics: tuple[MetricPair, ...]
    differences: tuple[Difference, ...]


def compare_versions(a: Version, b: Version) -> Comparison:
    """Metrics in full; of everything else only what differs."""
    names = sorted({*a.metrics, *b.metrics})
    return Comparison(
        a=a.reference,
        b=b.reference,
        same_content=a.digest == b.digest,
        compatible=_compatible(a, b),
        metrics=tuple(_pair(name, a.metrics.get(name), b.metrics.get(name)) for name in names),
        differences=tuple(_differences(_facts(a), _facts(b))),
    )


def lower_is_better(metric: str) -> bool:
    """Whether a metric of this name counts losses, errors, time or size."""
    return any(part in metric.lower() for part in _LOWER_IS_BETTER)


def _pair(name: str, a: float | None, b: float | None) -> MetricPair:
    if a is None or b is None:
        return MetricPair(name=name, a=a, b=b, change=None, better="")
    better = "" if a == b else ("a" if (a < b) == lower_is_better(name) else "b")
    return MetricPair(name=name, a=a, b=b, change=b - a, better=better)


def _compatible(a: Version, b: Version) -> bool:
    mine, theirs = a.signature, b.signature
    known = {spec.name: spec for spec in mine.inputs}
    for spec in theirs.inputs:
        before = known.pop(spec.name, None)
        if before is None and not spec.optional:
            return False
        if before is not None and (_type(before) != _type(spec) or (before.optional and not spec.optional)):
            return False
    given = {spec.name: _type(spec) for spec in theirs.outputs}
    return not known and all(given.get(spec.name) == _type(spec) for spec in mine.outputs)


def _type(spec: TensorSpec) -> tuple[str, tuple[int, ...]]:
    return spec.datatype.value, tuple(spec.wire_shape)


def _facts(version: Version) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "digest": version.digest,
        "format": version.artifact.format,
        "entry": version.artifact.entry,
        "size": version.artifact.size,
        "classes": list(version.signature.classes),
        "created_by": version.created_by,
        "created_ns": version.created_ns,
    }
    for spec in version.signature.inputs:
        facts[f"input.{spec.name}"] = _shape(spec)
    for spec in version.signature.outputs:
        facts[f"output.{spec.name}"] = _shape(spec)
    for group in ("profile", "card", "lineage", "tags"):
        facts |= _flat(group, msgspec.to_builtins(getattr(version, group)))
    facts |= _flat("report", {name: value for name, value in version.report.items() if isinstance(value, str | int | float | bool)})
    facts |= _files("file", version.artifact.files) | _files("attachment", version.attachments)
    return facts


def _shape(spec: TensorSpec) -> str:
    return f"{spec.datatype.value}[{', '.join(str(size) for size in spec.wire_shape)}]{' optional' if spec.optional else ''}"


def _flat(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _files(kind: str, files: tuple[ArtifactFile, ...]) -> dict[str, Any]:
    return {f"{kind}.{file.path}": file.digest for file in files}


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    names = [*a, *(name for name in b if name not in a)]
    return [Difference(field=name, a=a.get(name), b=b.get(name)) for name in names if a.get(name) != b.get(name)]
