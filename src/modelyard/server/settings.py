"""Every setting of the platform, each with the sentence that the reference page is made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from modelyard.core.resources import Resources
from modelyard.observability.logging import redact

PREFIX = "MODELYARD_"
OTHER_VARIABLES = frozenset(
    {
        "MODELYARD_URL",
        "MODELYARD_KEY",
        "MODELYARD_INFERENCE_URL",
        "MODELYARD_CA",
        "MODELYARD_CERTIFICATE",
        "MODELYARD_CERTIFICATE_KEY",
        "MODELYARD_JOB",
        "MODELYARD_JOB_OWNER",
    }
)
"""Variables with our prefix that are read by CLI and SDK, or handed to jobs."""

SECRETS = frozenset({"admin_key", "webhook_secret"})
"""Settings that are shown nowhere."""

_BYTES = {"unit": "bytes"}
_SECONDS = {"unit": "seconds"}
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
    socket: Annotated[str, Meta(description="Path of a Unix socket that the inference listener uses in place of host and port.")] = ""
    management_socket: Annotated[str, Meta(description="The same for the management listener.")] = ""
    socket_mode: Annotated[str, Meta(description="Rights of the files of Unix sockets, in octal: 660 opens them to the group.")] = "600"
    allow_networks: Annotated[
        str, Meta(description="Networks that may connect to the inference and gRPC listeners, with commas; empty for all.")
    ] = ""
    deny_networks: Annotated[str, Meta(description="Networks that may not connect to them, even if they are among the allowed ones.")] = ""
    management_allow_networks: Annotated[
        str, Meta(description="Networks that may connect to the management listener, with commas; empty for all.")
    ] = ""
    management_deny_networks: Annotated[str, Meta(description="Networks that may not connect to the management listener.")] = ""
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Networks of proxies whose Forwarded or X-Forwarded-For says who the client is; unix for callers by Unix socket. "
            "From anybody else these headers mean nothing."
        ),
    ] = ""
    tls_certificate: Annotated[
        str,
        Meta(description="PEM file of the listeners' certificate, followed when it changes; empty for no TLS."),
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file of its private key; empty when the certificate's file has it too.")] = ""
    tls_listeners: Annotated[str, Meta(description="Listeners that speak TLS when there is a certificate, with commas.")] = (
        "inference,grpc,management"
    )
    tls_client_ca: Annotated[
        str, Meta(description="PEM file of the authorities whose certificates clients may show (mutual TLS); empty asks clients for none.")
    ] = ""
    tls_clients: Annotated[
        Literal["required", "optional"],
        Meta(description="Whether clients must show a certificate, or may. gRPC asks for certificates only where they are required."),
    ] = "required"
    tls_client_listeners: Annotated[str, Meta(description="Listeners that ask clients for certificates, with commas.")] = (
        "inference,grpc,management"
    )
    tls_handshake_seconds: Annotated[float, Meta(gt=0, description="Time a client has for its TLS handshake.", extra=_SECONDS)] = 10.0
    workers: Annotated[int, Meta(ge=0, le=512, description="Inference processes; 0 means one for each CPU core.")] = 0
    model_threads: Annotated[
        int,
        Meta(
            ge=1,
            le=512,
            description="Threads of one run of a model inside a worker. As many runs go on at once as its share of the CPU cores has "
            "room for: more threads make a long run shorter, and fewer go on beside it.",
        ),
    ] = 1
    database_url: Annotated[
        str, Meta(description="Database of the controller: sqlite:///… or postgresql://…; empty for a SQLite file inside the home.")
    ] = ""
    blob_url: Annotated[
        str,
        Meta(description="Where artifacts and datasets are stored: a folder or s3://bucket/prefix; empty for a folder inside the home."),
    ] = ""
    admin_key: Annotated[
        str,
        Meta(
            description="Bootstrap admin key of at least 16 characters, the same on all nodes of one database that have any; "
            "empty lets the first start make one and print it once."
        ),
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is logged.")] = "info"
    access_log: Annotated[bool, Meta(description="Whether workers log every inference request as a JSON line.")] = True
    span_endpoint: Annotated[
        str, Meta(description="OTLP endpoint (HTTP) that spans of calls go to, like http://127.0.0.1:4318/v1/traces; empty for none.")
    ] = ""
    span_share: Annotated[
        float, Meta(ge=0, le=1, description="Share of calls that become spans; calls within a trace are sampled as their caller says.")
    ] = 0.01
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

    model_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Memory that versions inside one worker may take together; the least recently used leave it. 0 for no bound.",
            extra=_BYTES,
        ),
    ] = 0
    jobs: Annotated[int, Meta(ge=0, le=256, description="Jobs that run at the same time; 0 means half of the CPU cores, at least one.")] = 0
    job_policy: Annotated[
        Literal["first-come", "shortest", "largest", "priority", "fair"],
        Meta(
            description="Whose turn it is among waiting jobs: first-come, shortest or largest (predicted time or work) first, priority, or "
            "fair (the workspace that had least of its share)."
        ),
    ] = "priority"
    job_aging: Annotated[
        float, Meta(gt=0, description="Seconds of predicted time that a second of waiting makes up for, under shortest and largest.")
    ] = 0.1
    job_priority_seconds: Annotated[
        float, Meta(gt=0, description="Time of waiting that is worth one step of priority, under priority and fair.", extra=_SECONDS)
    ] = 600.0
    job_cores: Annotated[float, Meta(ge=0, description="CPU cores that all jobs together may hold; 0 means all of the machine's.")] = 0.0
    job_pool_bytes: Annotated[
        int, Meta(ge=0, description="Memory that all jobs together may hold; 0 means 60% of the machine's.", extra=_BYTES)
    ] = 0
    job_gpus: Annotated[
        str, Meta(description="Device ids of the GPUs that jobs may be given, with commas; others than those of replicas.")
    ] = ""
    job_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Memory a job's processes may use together; 0 means an equal part of what all jobs may hold.",
            extra=_BYTES,
        ),
    ] = 0
    job_wall_seconds: Annotated[float, Meta(gt=0, description="Time a job may take.", extra=_SECONDS)] = 6 * 3600.0
    job_attempts: Annotated[int, Meta(ge=1, le=10, description="How often a job is started before a crash counts as its failure.")] = 2
    job_grace_seconds: Annotated[
        float, Meta(ge=0, description="Time a cancelled job has to end by itself before it is killed.", extra=_SECONDS)
    ] = 5.0

    ray_address: Annotated[
        str,
        Meta(
            description="Ray cluster that work with the engine ray goes to, like 10.0.0.5:6379, with this machine as one of its nodes; "
            "local starts one on this machine for each job and ends it with the job."
        ),
    ] = "local"
    ray_wait_seconds: Annotated[float, Meta(gt=0, description="How long a job waits for room in the Ray cluster.", extra=_SECONDS)] = 60.0
    gpus: Annotated[
        str, Meta(description="Device ids of the GPUs that replicas may be given, with commas, as CUDA_VISIBLE_DEVICES takes them.")
    ] = ""
    vllm_command: Annotated[
        str, Meta(description="Program that starts vLLM, like /opt/vllm/bin/vllm; empty for the one that 'modelyard install vllm' made.")
    ] = ""
    probe_memory_bytes: Annotated[int, Meta(ge=2**27, description="Memory the confined trial of a pushed model may use.", extra=_BYTES)] = (
        4 * 2**30
    )
    probe_seconds: Annotated[float, Meta(gt=0, description="Time the confined trial of a pushed model may take.", extra=_SECONDS)] = 120.0
    import_unconfined: Annotated[
        bool,
        Meta(
            description="Whether pushed formats that can run code may be opened on a machine that cannot confine processes "
            "(no Landlock); they are refused there otherwise."
        ),
    ] = False
    prediction_retention_seconds: Annotated[
        float, Meta(gt=0, description="How long results of asynchronous predictions are kept.", extra=_SECONDS)
    ] = 7 * 86400.0
    batch_retention_seconds: Annotated[
        float, Meta(gt=0, description="How long ended batches and their files of answers are kept.", extra=_SECONDS)
    ] = 30 * 86400.0
    batch_storage_bytes: Annotated[
        int,
        Meta(
            ge=0, description="What uploaded files and files of answers of one workspace may take before uploads are refused.", extra=_BYTES
        ),
    ] = 10 * 2**30
    usage_retention_seconds: Annotated[
        float,
        Meta(ge=0, description="How long single usage records are kept, for tracing; 0 keeps them for ever.", extra=_SECONDS),
    ] = 400 * 86400.0
    usage_minute_retention_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="How long usage by minute is kept; usage by hour, day and month is kept for ever, as is that by minute with 0.",
            extra=_SECONDS,
        ),
    ] = 400 * 86400.0
    journal_full: Annotated[
        Literal["refuse", "serve"],
        Meta(
            description="What becomes of calls that a full disk has no room to record: refuse answers 503; serve answers them, marked by "
            "the header x-modelyard-unrecorded and counted in modelyard_calls_unrecorded_total, and nobody pays for them."
        ),
    ] = "refuse"
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
    contract_models: Annotated[
        bool,
        Meta(
            description="Whether callers of the sagemaker contract load and unload models by name, as its multi-model endpoints do; "
            "SAGEMAKER_MULTI_MODEL sets it too."
        ),
    ] = False
    contract_model: Annotated[
        str,
        Meta(
            description="Path or URL of a model that is deployed at the start of a contract, as the deployment that calls mean. "
            "AIP_STORAGE_URI sets it too; under sagemaker it is /opt/ml/model where that is there."
        ),
    ] = ""
    contract_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="What models that a contract loads may take together; 0 for 70 % of the machine's or container's memory.",
            extra=_BYTES,
        ),
    ] = 0
    contract_trust: Annotated[
        bool, Meta(description="Whether models that a contract loads may hold code (Python, pickles), which runs in confined processes.")
    ] = False
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
        return self.job_memory_bytes or int(self.job_capacity.memory_bytes / self.job_count)

    @property
    def job_devices(self) -> tuple[str, ...]:
        """Ids of GPUs for jobs."""
        return tuple(self.job_gpus.replace(",", " ").split())

    @property
    def job_capacity(self) -> Resources:
        """What all jobs together may hold."""
        return Resources(self.job_cores or float(cores()), self.job_pool_bytes or int(0.6 * machine_memory()), len(self.job_devices))

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
        return msgspec.convert(document, cls, dec_hook=decode_path)

    def __repr__(self) -> str:
        shown = msgspec.structs.asdict(self) | dict.fromkeys(SECRETS, "[secret]")
        return redact(f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})")


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


def decode_path(kind: type, value: Any) -> Any:
    """For msgspec: a path from its text."""
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    raise NotImplementedError(kind)
