"""Settings assembled once from flags and ``MODELYARD_*`` environment variables.

Only entry points call ``assemble``; everything else is handed what it needs. Reference pages are generated from ``describe``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Meta

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.server.settings import OTHER_VARIABLES, PREFIX, SECRETS, Settings, decode_path

_UNITS: dict[str, dict[str, float]] = {
    "bytes": {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
              "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40},
    "seconds": {"": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400},
}  # fmt: skip
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")

_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SAGEMAKER_MODEL = Path("/opt/ml/model")
"""Where SageMaker puts an endpoint's one model."""
_KINDS = {str: "text", bool: "yes or no", int: "number", float: "number"}


class Assembled(NamedTuple):
    """Settings with what a person should be told about the variables they came from."""

    settings: Settings
    warnings: tuple[str, ...]


class SettingDoc(NamedTuple):
    """A line of the reference page."""

    name: str
    variable: str
    kind: str
    default: str
    text: str


def assemble(environment: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Assembled:
    """Settings from ``MODELYARD_*`` variables, overridden by flags that are not None.

    Unknown variables are warned about with the nearest known one. Raises InvalidRequest with one sentence for a malformed value.
    """
    known = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in known:
            warnings.append(f"The environment variable {variable} is not a setting and is ignored.{did_you_mean(variable, known)}")
        elif text:
            values[known[variable]] = _convert(known[variable], text, variable)
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _convert(name, value, f"--{name.replace('_', '-')}")
    if values.get("contract"):
        values = _of_contract(values["contract"], environment) | values
        warnings.append(f"Calls on the inference port need no key: that is the contract of {values['contract']}.")
    if "home" in values:
        values["home"] = values["home"].expanduser().resolve()
    else:
        values["home"] = Settings().home.expanduser().resolve()
    settings = Settings(**values)
    _check(settings)
    return Assembled(settings, tuple(warnings))


def describe() -> list[SettingDoc]:
    """One line for each setting, in order of declaration."""
    defaults = Settings()
    found = []
    for field in msgspec.structs.fields(Settings):
        default = getattr(defaults, field.name)
        kind = _unit(field) or _KINDS.get(type(default), "path")
        text = next((meta.description for meta in _metas(field) if meta.description), "")
        found.append(SettingDoc(field.name, PREFIX + field.name.upper(), kind, str(default), text))
    return found


def _convert(name: str, value: Any, source: str) -> Any:
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == name)
    unit = _unit(field)
    if unit and isinstance(value, str):
        value = _quantity(value, unit, field.type, source)
    if name == "log_level" and isinstance(value, str):
        value = value.lower()
    if isinstance(getattr(Settings(), name), bool) and isinstance(value, str):
        value = _WORDS.get(value.strip().lower(), value)
    try:
        return msgspec.convert(value, field.type, strict=False, dec_hook=decode_path)
    except msgspec.ValidationError as error:
        shown = "a secret value" if name in SECRETS else repr(str(value))
        reason = str(error).split(" - at ")[0].replace("`", "")
        raise InvalidRequest(f"{source} is {shown}, which cannot be used: {reason[:1].lower()}{reason[1:]}. Correct or unset it.") from None


def _quantity(text: str, unit: str, kind: Any, source: str) -> float | int | str:
    match = _QUANTITY.fullmatch(text)
    factor = _UNITS[unit].get(match[2].lower()) if match else None
    if match is None or factor is None:
        example = "64MiB" if unit == "bytes" else "30s, 10m or 7d"
        raise InvalidRequest(f"{source} is {text!r}, which is no number of {unit}; write it like {example}.")
    value = float(match[1]) * factor
    return int(value) if getattr(kind, "__origin__", kind) is int else value


def _check(settings: Settings) -> None:
    if settings.admin_key and len(settings.admin_key) < 16:
        raise InvalidRequest(f"{PREFIX}ADMIN_KEY has fewer than 16 characters; choose a longer one.")
    for name in ("contract_health_route", "contract_predict_route"):
        route = getattr(settings, name)
        if not route.startswith("/") or set(route) & set("{}?#% ") or route in ("/livez", "/readyz"):
            raise InvalidRequest(
                f"{PREFIX}{name.upper()} is {route!r}, which cannot be a route: it must be a plain path of its own, like /predict."
            )
    if settings.contract and settings.grpc_port >= 0:
        raise InvalidRequest(
            f"gRPC is no part of a container contract, whose callers have no keys; leave {PREFIX}GRPC_PORT out, or set it to -1."
        )
    if settings.contract_models and settings.contract != "sagemaker":
        raise InvalidRequest(f"Only the contract sagemaker loads models by name; leave {PREFIX}CONTRACT_MODELS out, or set --contract.")
    if settings.grpc_port > 0 and settings.grpc_port in (settings.port, settings.management_port):
        raise InvalidRequest(f"Port {settings.grpc_port} cannot be that of gRPC and of another listener; choose another {PREFIX}GRPC_PORT.")
    if settings.port and settings.port == settings.management_port:
        raise InvalidRequest(f"Inference and management cannot both listen on port {settings.port}; choose another --management-port.")


def _of_contract(contract: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a container's environment says, and ports as its contract has them; settings of our own come before these."""
    variables = {"port": "SAGEMAKER_BIND_TO_PORT", "contract_models": "SAGEMAKER_MULTI_MODEL"}
    if contract == "vertex":
        variables = {"port": "AIP_HTTP_PORT", "contract_health_route": "AIP_HEALTH_ROUTE", "contract_predict_route": "AIP_PREDICT_ROUTE"}
        variables["contract_model"] = "AIP_STORAGE_URI"
    found: dict[str, Any] = {"port": 8080, "grpc_port": -1}
    if contract == "sagemaker" and _SAGEMAKER_MODEL.is_dir():
        found["contract_model"] = str(_SAGEMAKER_MODEL)
    found |= {name: _convert(name, environment[variable], variable) for name, variable in variables.items() if environment.get(variable)}
    return found | {"management_port": 8081 if found["port"] != 8081 else 8082}


def _metas(field: Any) -> tuple[Meta, ...]:
    return getattr(field.type, "__metadata__", ())


def _unit(field: Any) -> str:
    return next((meta.extra["unit"] for meta in _metas(field) if meta.extra), "")
