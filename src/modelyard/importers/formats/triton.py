"""Triton model repositories: one model with its ``config.pbtxt`` and a folder a version."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.importers.base import Bench, Converted, Importer
from modelyard.importers.brought import Brought
from modelyard.importers.formats.onnx import IMPORTER as ONNX
from modelyard.importers.formats.pytorch import IMPORTER as TORCH
from modelyard.importers.spec import Part
from modelyard.importers.text_proto import parse

CONFIG = "config.pbtxt"
_MOST_ROWS, _MOST_DELAY_MS, _MOST_REPLICAS = 65536, 1000.0, 64
"""What a deployment's policy may say."""


class Triton(Importer):
    """See the module. Its version policy decides what is taken; batching and instances become a deployment's policy."""

    name = "triton"

    def find(self, brought: Brought) -> list[Part]:
        found = [path for path in brought.files if path == CONFIG or path.endswith("/" + CONFIG)]
        if not found:
            return []
        if len(found) > 1:
            raise InvalidArtifact(f"The repository holds {len(found)} models; push one model's folder at a time, like {found[0]!r}'s.")
        root = found[0].removesuffix(CONFIG).rstrip("/")
        inside = brought.below(root)
        config = parse(inside.text(CONFIG))
        numbers = sorted(int(name) for name in inside.folders() if re.fullmatch(r"[1-9]\d*", name))
        if not numbers:
            raise InvalidArtifact("The Triton model has no version folder such as '1' with a model file in it.")
        kept: dict[str, Any] = {
            name: config[name] for name in ("max_batch_size", "dynamic_batching", "version_policy", "instance_group") if name in config
        }
        return [_part(brought, f"{root}/{number}".lstrip("/"), number, config, kept) for number in _chosen(config, numbers)]

    def convert(self, bench: Bench) -> Converted:
        raise InvalidArtifact(f"A Triton repository is imported by the format of its models, not {bench.part.entry!r}.")


IMPORTER = Triton()


def _part(brought: Brought, folder: str, number: int, config: dict[str, Any], kept: dict[str, Any]) -> Part:
    inside = brought.below(folder)
    said = str(config.get("backend") or config.get("platform") or "")
    inner = ONNX.find(inside) or TORCH.find(inside)
    if not inner:
        raise Unsupported(
            f"Version {number} of the Triton model is for {said or 'a backend'} that is not imported; ONNX and TorchScript are."
        )
    title = f"version {number} of a Triton model ({inner[0].title})"
    policy, notes = _policy(config)
    part = msgspec.structs.replace(inner[0], folder=folder, title=title, number=number, kept={"triton": kept}, policy=policy, notes=notes)
    if part.importer != "torch":
        return part
    # A TorchScript file names neither inputs nor outputs: the configuration does.
    outputs = tuple(str(item.get("name", "")) for item in _list(config.get("output")))
    return msgspec.structs.replace(part, outputs=outputs, signature=_inputs(config))


def _policy(config: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the configuration says of serving, as a deployment's policy; and what of it holds in another way here."""
    policy: dict[str, Any] = {}
    notes: list[str] = []
    most, dynamic = int(config.get("max_batch_size") or 0), config.get("dynamic_batching")
    if most:
        preferred = [int(size) for size in _list((dynamic or {}).get("preferred_batch_size"))]
        delay_ms = int((dynamic or {}).get("max_queue_delay_microseconds") or 0) / 1000
        policy["batching"] = {"max_rows": min(max([*preferred, 0]) or most, _MOST_ROWS)} | (
            {"delay_ms": min(delay_ms, _MOST_DELAY_MS)} if delay_ms else {}
        )
        if dynamic is None:
            notes.append("dynamic_batching is not set there; here calls are computed together all the same where rows are independent.")
    groups = [group for group in _list(config.get("instance_group")) if isinstance(group, dict)]
    instances = sum(int(group.get("count") or 1) * max(1, len(_list(group.get("gpus")))) for group in groups)
    if instances > 1:
        policy["replicas"] = {"min": min(instances, _MOST_REPLICAS), "max": min(instances, _MOST_REPLICAS)}
    if any(str(group.get("kind")) == "KIND_GPU" for group in groups):
        notes.append("Its instances ran on GPUs there; ONNX is computed on processors here.")
    return policy, tuple(notes)


def _inputs(config: dict[str, Any]) -> tuple[TensorSpec, ...]:
    """What the configuration says that the model takes; rows come first where it batches."""
    rows = [-1] if int(config.get("max_batch_size") or 0) > 0 else []
    found: list[TensorSpec] = []
    for item in _list(config.get("input")):
        name, kind = str(item.get("name") or ""), str(item.get("data_type") or "").removeprefix("TYPE_")
        datatype = Datatype.__members__.get("BYTES" if kind == "STRING" else kind)
        if not name or datatype is None:
            raise InvalidArtifact(f"The input {name!r} of the Triton model is of type {kind!r}, which is none that is known.")
        found.append(TensorSpec(name=name, datatype=datatype, shape=(*rows, *(int(size) for size in _list(item.get("dims"))))))
    return tuple(found)


def _chosen(config: dict[str, Any], numbers: list[int]) -> list[int]:
    """The versions that the policy serves: the newest by default, as Triton does."""
    policy = config.get("version_policy") or {}
    if "all" in policy:
        return numbers
    if "specific" in policy:
        wanted = {int(number) for number in _list(policy["specific"].get("versions"))}
        missing = sorted(wanted - set(numbers))
        if missing:
            raise InvalidArtifact(f"The version policy names version {missing[0]}, which has no folder.")
        return sorted(wanted)
    return numbers[-int((policy.get("latest") or {}).get("num_versions", 1)) :]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
