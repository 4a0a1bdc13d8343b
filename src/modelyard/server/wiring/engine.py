"""What the engine's process is made of. It reads the snapshot as workers do, and no database."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import Unavailable
from modelyard.engines.local import LocalEngine
from modelyard.registry.artifacts import ArtifactCache
from modelyard.runtimes.detect import REACH_OUT, SEALED
from modelyard.runtimes.environments import Environments
from modelyard.runtimes.programs import Programs
from modelyard.server.settings import Settings
from modelyard.server.wiring.children import REPLICA_MODULE, interpreter_of, passed_on
from modelyard.serving.replicas.fleet import Fleet, FleetOptions
from modelyard.serving.replicas.member import Prepared
from modelyard.serving.replicas.places import DirectoryFile, read_demand
from modelyard.store.blobs import Blobs
from modelyard.store.home import Home
from modelyard.store.snapshot import SnapshotReader


def build(settings: Settings, environment: Mapping[str, str]) -> Fleet:
    """Puts the keeper of this machine's replicas together.

    Raises InvalidRequest for a blob URL that cannot be used.
    """
    home = Home(settings.home)
    cache = ArtifactCache(home.artifacts, Blobs.open(settings.blobs(), home.temporary))

    environments = Environments(home.environments, environment)
    programs = Programs(home.programs, environment)

    def prepare(version: ServedVersion) -> Prepared:
        folder = cache.materialize(version.artifact)
        found = interpreter_of(environments, folder, version.artifact.format)
        sealed = home.root if version.artifact.format in SEALED else None
        program = _vllm(settings, programs) if version.artifact.format == "vllm" else ""
        return Prepared(
            artifact=folder,
            command=found.command(REPLICA_MODULE),
            environment=found.environment,
            program=program,
            home=sealed,
            confined=version.artifact.format not in REACH_OUT,
        )

    return Fleet(
        LocalEngine(passed_on(environment)),
        SnapshotReader(home.snapshot),
        lambda: read_demand(home.run, settings.worker_count),
        prepare,
        directory=DirectoryFile(home.run),
        options=FleetOptions(
            folder=home.replicas,
            logs=home.logs,
            gpus=tuple(settings.gpus.replace(",", " ").split()),
            drain_seconds=settings.drain_seconds,
        ),
    )


def _vllm(settings: Settings, programs: Programs) -> str:
    """What starts vLLM here; looked for at each start of a replica, so that it may be installed while its deployment waits for it."""
    program = settings.vllm_command or programs.path("vllm")
    if not program:
        raise Unavailable("There is no vLLM here; install it with 'modelyard install vllm', or name one in MODELYARD_VLLM_COMMAND.")
    return program
