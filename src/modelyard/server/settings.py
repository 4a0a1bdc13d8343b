"""Every setting of the platform, assembled once from flags and ``MODELYARD_*`` environment variables.

Only entry points call ``assemble``; everything else is handed what it needs. Reference pages are generated from ``describe``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.observability.logging import redact

PREFIX = "MODELYARD_"
OTHER_VARIABLES = frozenset({"MODELYARD_URL", "MODELYARD_KEY", "MODELYARD_INFERENCE_URL", "MODELYARD_JOB", "MODELYARD_JOB_OWNER"})
"""Variables with our prefix that are read by CLI and SDK, or handed to jobs."""

SECRETS = frozenset({"admin_key", "webhook_secret"})
"""Settings that are shown nowhere."""

_BYTES = {"unit": "bytes"}
_SECONDS = {"unit": "seconds"}
_UNITS: dict[str, dict[str, float]] = {
    "bytes": {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
              "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40},
    "seconds": {"": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400},
}  # fmt: skip
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")

_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_KINDS = {str: "text", bool: "yes or no", int: "number", float: "number"}

Port = Annotated[int, Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one platform. Sizes may be written like ``64MiB``, times like ``30s``, ``10m`` or ``7d``."""

    home: Annotated[Path, Meta(description="Folder that holds everything the platform keeps on this machine.")] = Path("~/.modelyard")
    host: Annotated[str, Meta(min_length=1, description="Address that both listeners bind; 0.0.0.0 opens them to the network.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of the inference listener; 0 takes a free one.")] = 8000
    management_port: Annotated[Port, Meta(description="Port of the management listener; 0 takes a free one.")] = 8080
    grpc_port: Annotated[
        int, Meta(ge=-1, le=65535, description="Port of the gRPC listener, on the same address; 0 takes a free one, -1 turns gRPC off.")
    ] = 8001
    workers: Annotated[int, Meta(ge=0, le=512, description="Inference processes; 0 means one for each CPU core.")] = 0
    database_url: Annotated[
        str, Meta(description="Database of the controller: sqlite:///… or postgresql://…; empty for a SQLite file inside the home.")
    ] = ""
    blob_url: Annotated[
        str,
        Meta(description="Where artifacts and datasets are stored: a folder or s3://bucket/prefix; empty for a folder inside the home."),
    ] = ""
    admin_key: Annotated[
        str, Meta(description="Bootstrap admin key of at least 16 characters; empty lets the first start make one and print it once.")
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is logged.")] = "info"
    access_log: Annotated[bool, Meta(description="Whether workers log every inference request as a JSON line.")] = True
    drain_seconds: Annotated[
        float, Meta(ge=0, description="How long calls in flight may go on when the platform stops.", extra=_SECONDS)
    ] = 20.0

    max_body_bytes: Annotated[
        int, Meta(ge=1024, description="Largest body of an inference request, before and after decompression.", extra=_BYTES)
    ] = 64 * 2**20
    max_head_bytes: Annotated[int, Meta(ge=1024, description="Largest request line and headers together.", extra=_BYTES)] = 32 * 2**10
    max_connections: Annotated[int, Meta(ge=1, description="Open connections a worker accepts.")] = 4096
    head_timeout_seconds: Annotated[float, Meta(gt=0, description="Time a client has to send the head of a request.", extra=_SECONDS)] = (
        10.0
    )
    body_timeout_seconds: Annotated[
        float, Meta(gt=0, description="Time a client has to send the body of a request, beyond what a steady one needs.", extra=_SECONDS)
    ] = 20.0
    idle_timeout_seconds: Annotated[float, Meta(gt=0, description="How long an idle connection is kept open.", extra=_SECONDS)] = 75.0
    write_timeout_seconds: Annotated[
        float, Meta(gt=0, description="Time a client may take no byte of an answer before it is cut off.", extra=_SECONDS)
    ] = 20.0
    request_timeout_seconds: Annotated[
        float, Meta(gt=0, description="Time from a whole request to the beginning of its answer.", extra=_SECONDS)
    ] = 300.0
    max_upload_bytes: Annotated[int, Meta(ge=1024, description="Largest single file uploaded to the management API.", extra=_BYTES)] = (
        20 * 2**30
    )

    jobs: Annotated[int, Meta(ge=0, le=256, description="Jobs that run at the same time; 0 means half of the CPU cores, at least one.")] = 0
    job_memory_bytes: Annotated[
        int, Meta(ge=0, description="Memory a job's processes may use together; 0 means 60% of the machine's.", extra=_BYTES)
    ] = 0
    job_wall_seconds: Annotated[float, Meta(gt=0, description="Time a job may take.", extra=_SECONDS)] = 6 * 3600.0
    job_attempts: Annotated[int, Meta(ge=1, le=10, description="How often a job is started before a crash counts as its failure.")] = 2
    job_grace_seconds: Annotated[
        float, Meta(ge=0, description="Time a cancelled job has to end by itself before it is killed.", extra=_SECONDS)
    ] = 5.0

    probe_memory_bytes: Annotated[int, Meta(ge=2**27, description="Memory the confined trial of a pushed model may use.", extra=_BYTES)] = (
        4 * 2**30
    )
    probe_seconds: Annotated[float, Meta(gt=0, description="Time the confined trial of a pushed model may take.", extra=_SECONDS)] = 120.0
    prediction_retention_seconds: Annotated[
        float, Meta(gt=0, description="How long results of asynchronous predictions are kept.", extra=_SECONDS)
    ] = 7 * 86400.0
    usage_retention_seconds: Annotated[
        float,
        Meta(ge=0, description="How long single usage records are kept, for tracing; 0 keeps them for ever.", extra=_SECONDS),
    ] = 400 * 86400.0
    usage_minute_retention_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="How long usage by minute is kept; usage by hour and day is kept for ever, as is that by minute with 0.",
            extra=_SECONDS,
        ),
    ] = 400 * 86400.0
    audit_sign_seconds: Annotated[
        float, Meta(gt=0, description="How often the audit log is signed, when it has grown.", extra=_SECONDS)
    ] = 60.0
    audit_trust: Annotated[
        str,
        Meta(description="Public keys that sign the audit log besides this home's own, with commas: other nodes', or one from before."),
    ] = ""
    webhook_secret: Annotated[
        str, Meta(description="Secret that signs webhooks; empty makes one and keeps it in the file webhook.secret of the home.")
    ] = ""
    webhook_local: Annotated[
        bool, Meta(description="Whether webhooks may go to this machine itself, which is refused otherwise; meant for trying them out.")
    ] = False
    upload_retention_seconds: Annotated[
        float, Meta(gt=0, description="Age at which garbage collection may remove an upload that nothing refers to.", extra=_SECONDS)
    ] = 86400.0

    contract: Annotated[
        Literal["", "sagemaker", "vertex"],
        Meta(
            description="Container contract that the inference listener fulfils in place of all other protocols: sagemaker or vertex. Its "
            "callers need no key, because the service in front has checked them."
        ),
    ] = ""
    contract_deployment: Annotated[str, Meta(description="Deployment that calls of a contract mean; empty for the only one there is.")] = ""
    contract_health_route: Annotated[str, Meta(description="Path of Vertex health checks; AIP_HEALTH_ROUTE sets it too.")] = "/ping"
    contract_predict_route: Annotated[str, Meta(description="Path of Vertex predictions; AIP_PREDICT_ROUTE sets it too.")] = "/predict"

    @property
    def worker_count(self) -> int:
        """Inference processes to start."""
        return self.workers or cores()

    @property
    def job_count(self) -> int:
        """Jobs that may run at the same time."""
        return self.jobs or max(1, cores() // 2)

    @property
    def job_memory(self) -> int:
        """Bytes a job may use when it names no limit of its own."""
        return self.job_memory_bytes or int(0.6 * machine_memory())

    def database(self) -> str:
        """URL of the database, the default one filled in."""
        return self.database_url or f"sqlite:///{self.home / 'modelyard.db'}"

    def blobs(self) -> str:
        """URL of the blob store, the default one filled in."""
        return self.blob_url or str(self.home / "blobs")

    def encode(self) -> dict[str, Any]:
        """Plain data for handing the settings to a child process over a private channel; holds the admin key."""
        document: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return document

    @classmethod
    def decode(cls, document: Mapping[str, Any]) -> Settings:
        """The inverse of ``encode``."""
        return msgspec.convert(document, cls, dec_hook=_decode_path)

    def __repr__(self) -> str:
        shown = msgspec.structs.asdict(self) | dict.fromkeys(SECRETS, "[secret]")
        return redact(f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})")


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


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int:
    """Bytes of memory of the machine, or of the container it runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


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
        return msgspec.convert(value, field.type, strict=False, dec_hook=_decode_path)
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
    if settings.grpc_port > 0 and settings.grpc_port in (settings.port, settings.management_port):
        raise InvalidRequest(f"Port {settings.grpc_port} cannot be that of gRPC and of another listener; choose another {PREFIX}GRPC_PORT.")
    if settings.port and settings.port == settings.management_port:
        raise InvalidRequest(f"Inference and management cannot both listen on port {settings.port}; choose another --management-port.")


def _of_contract(contract: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a container's environment says, and ports as its contract has them; settings of our own come before these."""
    variables = {"port": "SAGEMAKER_BIND_TO_PORT"}
    if contract == "vertex":
        variables = {"port": "AIP_HTTP_PORT", "contract_health_route": "AIP_HEALTH_ROUTE", "contract_predict_route": "AIP_PREDICT_ROUTE"}
    found: dict[str, Any] = {"port": 8080, "grpc_port": -1}
    found |= {name: _convert(name, environment[variable], variable) for name, variable in variables.items() if environment.get(variable)}
    return found | {"management_port": 8081 if found["port"] != 8081 else 8082}


def _metas(field: Any) -> tuple[Meta, ...]:
    return getattr(field.type, "__metadata__", ())


def _unit(field: Any) -> str:
    return next((meta.extra["unit"] for meta in _metas(field) if meta.extra), "")


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    raise NotImplementedError(kind)
