"""The client of a Modelyard platform."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from modelyard.core.api import DeploymentView, Whoami
from modelyard.core.errors import InvalidRequest, JobFailed
from modelyard.core.jobs import Job, Limits
from modelyard.core.models import Card, Version, check_name
from modelyard.sdk.async_inference import AsyncInference
from modelyard.sdk.async_resources.certificates import AsyncCertificates
from modelyard.sdk.async_resources.datasets import AsyncDatasets
from modelyard.sdk.async_resources.deployments import AsyncDeployments
from modelyard.sdk.async_resources.jobs import AsyncJobs, OnProgress
from modelyard.sdk.async_resources.keys import AsyncKeys
from modelyard.sdk.async_resources.limits import AsyncPrices, AsyncUsageLimits
from modelyard.sdk.async_resources.me import AsyncOneself
from modelyard.sdk.async_resources.models import AsyncModels, Said
from modelyard.sdk.async_resources.people import AsyncPeople, AsyncProviders
from modelyard.sdk.async_resources.platform import AsyncPlatform
from modelyard.sdk.async_resources.pools import AsyncPools
from modelyard.sdk.async_resources.shares import AsyncShares
from modelyard.sdk.async_resources.workspaces import AsyncMembers, AsyncWorkspaces
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import holds_images, model_name_for, target_of
from modelyard.sdk.saving import save_model
from modelyard.sdk.settings import client_settings
from modelyard.sdk.waiting import async_call


class AsyncClient:
    """Everything the platform does, as calls.

    ``url`` is the management address; both it and ``key`` default to MODELYARD_URL and MODELYARD_KEY. ``workspace`` is for callers who may
    act in several (MODELYARD_WORKSPACE). Use it in a ``with``
    block or close it. One client may be shared by many callers. Refusals raise the errors of ``modelyard.core.errors``.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        workspace: str | None = None,
        inference_url: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        settings = client_settings(url, key, workspace=workspace, inference_url=inference_url, timeout=timeout, retries=retries)
        self.url = settings.url
        self._transport = AsyncTransport(settings, transport)
        self.models = AsyncModels(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.pools = AsyncPools(self._transport)
        self.shares = AsyncShares(self._transport)
        self.deployments = AsyncDeployments(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.certificates = AsyncCertificates(self._transport)
        self.workspaces = AsyncWorkspaces(self._transport)
        self.members = AsyncMembers(self._transport)
        self.me = AsyncOneself(self._transport)
        self.people = AsyncPeople(self._transport)
        self.providers = AsyncProviders(self._transport)
        self.limits = AsyncUsageLimits(self._transport)
        self.prices = AsyncPrices(self._transport)
        self.platform = AsyncPlatform(self._transport)
        self.inference = AsyncInference(self._transport, self.platform)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._transport.aclose()

    async def whoami(self) -> Whoami:
        """Whom the key makes the caller."""
        return await self.platform.whoami()

    async def status(self) -> dict[str, Any]:
        """Processes, deployments, jobs and sizes."""
        return await self.platform.status()

    async def predict(self, deployment: str, data: Any, *, version: str = "") -> Any:
        """Predictions of a deployment: a list of records for records or a DataFrame, a dict of arrays for a dict of arrays."""
        return await self.inference.predict(deployment, data, version=version)

    async def push(self, path: str | Path, name: str, **options: Any) -> Version:
        """Registers a model file or folder as the next version of ``name``; options as those of ``models.push``."""
        return await self.models.push(path, name, **options)

    async def submit_training(
        self, data: str | Path, target: str = "", *, name: str = "", recipe: Mapping[str, Any] | None = None, limits: Limits | None = None
    ) -> Job:
        """Uploads a table or series, or a folder or file of images, and queues a training job; ``recipe`` says everything else."""
        wanted = {**(recipe or {}), **({"target": target} if target else {})}
        if "kind" not in wanted and holds_images(Path(data)):
            wanted["kind"] = "images"
        if wanted.get("kind", "table") == "table" and not wanted.get("target"):
            raise InvalidRequest("Say which column to predict: target='species', or target: in the recipe.")
        wanted["name"] = check_name(
            name or wanted.get("name") or str(wanted.get("base", "")).partition("@")[0] or model_name_for(Path(data)), "model"
        )
        dataset = await self.datasets.upload(data, wanted["name"])
        spec = {"recipe": wanted, "dataset": f"{dataset.name}@{dataset.number}"}
        return await self.jobs.submit("train", spec, limits=limits)

    async def train(
        self,
        data: str | Path,
        target: str = "",
        *,
        name: str = "",
        recipe: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float = 0.0,
    ) -> Version:
        """Trains on a table, images or a series, as the recipe's ``kind`` says, waits, and gives the version that was registered.

        Raises JobFailed when training fails, DeadlineExceeded after ``timeout`` seconds (0 for no limit).
        """
        job = await self.submit_training(data, target, name=name, recipe=recipe)
        return await self.trained(await self.jobs.wait(job.id, on_progress=on_progress, timeout=timeout))

    async def trained(self, job: Job) -> Version:
        """The version that an ended training job registered."""
        model, number = job.result.get("model"), job.result.get("version")
        if not model or not number:
            raise JobFailed(f"Job {job.id} ended without a version; see its log with modelyard logs {job.id}")
        return await self.models.version(f"{model}@{number}")

    async def optimize(
        self,
        reference: str,
        passes: Sequence[str],
        *,
        tolerance: Mapping[str, float] | None = None,
        student: Mapping[str, Any] | None = None,
        calibration: str | Path = "",
        labels: Mapping[str, str] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float = 0.0,
    ) -> list[Version]:
        """Applies passes (``int8``, ``prune:0.8``, …) one after another, waits, and gives the child version of each.

        ``tolerance`` says how much a child may lose in ``quality``, ``latency`` and ``size``; what loses more is flagged in its report and
        cannot take an alias. ``student`` is the recipe of the network that the pass ``distill`` trains.
        ``calibration`` is a table, tensors by name (``.npz``) or a stored data set, for versions that were not trained here.
        ``labels`` says which column (or array) of it is the right answer, by which children are judged then, and what decides:
        ``{"target": "species", "metric": "accuracy"}``; the metric may be left out.
        Raises JobFailed and DeadlineExceeded as ``train`` does.
        """
        spec = {"version": reference, "passes": list(passes), "tolerance": dict(tolerance or {})}
        spec |= {"student": dict(student)} if student else {}
        spec |= await self._brought(calibration, labels)
        job = await self.jobs.submit("optimize", spec)
        done = await self.jobs.wait(job.id, on_progress=on_progress, timeout=timeout)
        return [await self.models.version(f"{done.result['model']}@{number}") for number in done.result["versions"]]

    async def tune(
        self,
        reference: str,
        objective: Mapping[str, float],
        *,
        chains: Sequence[Sequence[str]] = (),
        workers: Sequence[int] = (),
        calibration: str | Path = "",
        labels: Mapping[str, str] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float = 0.0,
    ) -> Version:
        """Searches passes and ways of running for the best that keeps ``{"p99_ms": 5, "max_loss": 0.005}`` on a real server; waits.

        ``chains`` are passes in a row, each tried by itself. Gives the chosen child; its report says under ``tuning`` how it is to be run,
        which a new deployment of it follows, and whether the objective was met. ``calibration`` and ``labels`` are those of ``optimize``,
        for versions that were not trained here. Raises JobFailed and DeadlineExceeded as ``train`` does.
        """
        spec: dict[str, Any] = {"version": reference, "objective": dict(objective)}
        spec |= {"chains": [list(chain) for chain in chains], "workers": list(workers)}
        spec |= await self._brought(calibration, labels)
        job = await self.jobs.submit("tune", spec)
        return await self.trained(await self.jobs.wait(job.id, on_progress=on_progress, timeout=timeout))

    async def log_model(
        self,
        model: Any,
        name: str,
        *,
        sample: Any = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        card: Card | None = None,
        trust: bool = False,
    ) -> Version:
        """Registers a model in memory as the next version of ``name``: saved by its own library, pushed, and converted by the platform.

        It may be of ONNX, scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch, Keras or Hugging Face (a pipeline, or model and tokenizer).
        ``sample`` is a data frame, an array, or arrays by name, on which the conversion is compared; PyTorch needs one. What can
        hold code (PyTorch, and estimators where skops is not installed) needs ``trust``, and the right to it.
        """
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            saved = await async_call(save_model, model, sample, Path(folder))
            said: Said = {"trust": trust} if saved.sample is None else {"trust": trust, "sample": saved.sample}
            return await self.models.push(saved.path, name, card=card, tags=tags, metrics=metrics, **said)

    async def predict_file(
        self,
        version: str,
        data: str | Path,
        to: BinaryIO,
        *,
        options: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        timeout: float = 0.0,
    ) -> Job:
        """Answers every row of a CSV or Parquet file, or of the stored data set ``name@number``, in a job; its result goes to ``to``.

        ``version`` is a version or a deployment. ``options``: ``keep`` (columns beside the predictions), ``form`` (``csv`` or ``parquet``),
        ``partitioned``, ``engine`` (``local`` or ``ray``). Raises JobFailed and DeadlineExceeded as ``train`` does.
        """
        dataset = str(data)
        if await async_call(Path(data).exists):
            uploaded = await self.datasets.upload(data, model_name_for(Path(data)))
            dataset = f"{uploaded.name}@{uploaded.number}"
        job = await self.jobs.submit("predict", {"version": version, "dataset": dataset, **(options or {})})
        done = await self.jobs.wait(job.id, on_progress=on_progress, timeout=timeout)
        await self.datasets.download(str(done.result["dataset"]), to)
        return done

    async def _brought(self, calibration: str | Path, labels: Mapping[str, str] | None) -> dict[str, str]:
        """Rows for a version that was not trained here, as a job takes them."""
        return dict(labels or {}) | ({"calibration": await self._stored(calibration, "calibration")} if calibration else {})

    async def _stored(self, data: str | Path, name: str) -> str:
        """A file as a stored data set; what is no file is the name of one."""
        if not await async_call(Path(data).is_file):
            return str(data)
        uploaded = await self.datasets.upload(data, name)
        return f"{uploaded.name}@{uploaded.number}"

    async def deploy(
        self,
        reference: str,
        name: str = "",
        *,
        before: Sequence[str | Path] = (),
        after: Sequence[str | Path] = (),
        weight: int = 100,
        wait: bool = True,
        timeout: float = 60.0,
        accept_flagged: bool = False,
    ) -> DeploymentView:
        """Serves ``reference`` (``name@champion`` follows the alias) as the deployment ``name``, by default the model's own name.

        ``before`` and ``after`` are Python functions that calls go through, and what the model gives: versions (``clean@1``), or files.
        A version that was flagged beside the one it was optimized from is refused unless ``accept_flagged``.
        """
        target = target_of(reference, weight)
        name = name or target.model
        policy = await self.deployments.with_steps(name, before=before, after=after)
        wished = await self.deployments.put(name, [target], policy=policy, accept_flagged=accept_flagged)
        return await self.deployments.wait(wished.name, timeout=timeout) if wait else wished
