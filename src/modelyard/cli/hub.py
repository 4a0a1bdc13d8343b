"""What is pushed: files of this machine, or a model of a Hugging Face hub, fetched by its id."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.errors import InvalidArtifact, InvalidRequest, NotFound, Unavailable, Unsupported

PREFIX = "hf:"
_REFERENCE = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*(?:@[\w./-]+)?", re.ASCII)
_WANTED = (
    "*.json",
    "*.safetensors",
    "*.jinja",
    "*.gguf",
    "*.onnx",
    "*.xml",
    "*.bin",
    "*.txt",
    "README.md",
    "LICENSE*",
    "1_Pooling/*",
    "onnx/*",
)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "training_args*")


class Brought(NamedTuple):
    """A path to push, and tags that say where it is from."""

    path: Path
    tags: dict[str, str]


Step = Callable[[str, float], None]
"""Shows what is being done, and what share of it is."""


@contextmanager
def brought(reference: str, step: Step) -> Iterator[Brought]:
    """A path as it is; ``hf:ORG/NAME[@REVISION]`` fetched to a folder that is there until the block ends.

    The hub is the one that HF_ENDPOINT names, and HF_TOKEN opens what is not public, as for every tool of the hub's. Raises NotFound,
    Unavailable when the hub cannot be reached, InvalidRequest for what is no reference.
    """
    if not reference.startswith(PREFIX):
        yield Brought(Path(reference), {})
        return
    wanted = reference.removeprefix(PREFIX)
    if not _REFERENCE.fullmatch(wanted):
        raise InvalidRequest(f"{reference!r} is no model of a hub; write it like hf:ORG/NAME or hf:ORG/NAME@REVISION.")
    identity, _, revision = wanted.partition("@")
    with tempfile.TemporaryDirectory(prefix="modelyard-hub-") as temporary:
        step(f"Fetching {identity}", 0.0)
        # Named as the model, because the name of a pushed model is by default that of its folder.
        folder = Path(temporary) / identity.rpartition("/")[2]
        commit = _fetch(identity, revision, folder)
        yield Brought(folder, {"hub": identity, "hub_revision": commit})


def _fetch(identity: str, revision: str, folder: Path) -> str:
    """Downloads a model's files; the commit that they are of."""
    try:
        import huggingface_hub as library
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError
    except ModuleNotFoundError:
        raise Unsupported("Models of a hub are fetched by huggingface_hub: pip install 'modelyard[hub]'") from None
    hub: Any = library
    options: Mapping[str, Any] = {"revision": revision or None}
    try:
        found = hub.HfApi().model_info(identity, **options)
        names = [one.rfilename for one in found.siblings or ()]
        safe = any(name.endswith((".safetensors", ".gguf", ".onnx", ".xml")) for name in names)
        ignored = _ignored(names) if safe else ()
        hub.snapshot_download(identity, revision=found.sha, local_dir=folder, allow_patterns=list(_WANTED), ignore_patterns=list(ignored))
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise NotFound(
            f"The hub has no model {identity!r}{f' at {revision!r}' if revision else ''} that may be read; check the name and HF_TOKEN."
        ) from None
    except OfflineModeIsEnabled:
        raise Unavailable("HF_HUB_OFFLINE is set, so no hub is asked; unset it, or push a folder.") from None
    except HfHubHTTPError as error:
        raise Unavailable(f"The hub refuses: {str(error).strip().splitlines()[0][:200]}.") from None
    except _transport_errors(hub) as error:
        raise Unavailable(f"The hub cannot be reached: {error}.") from None
    if not any(path.is_file() for path in folder.rglob("*")):
        raise InvalidArtifact(f"The model {identity!r} has no file of a kind that can be pushed.")
    return str(found.sha)


def _transport_errors(hub: Any) -> tuple[type[Exception], ...]:
    """What the HTTP client raises that this release of the hub's library uses."""
    client = import_module(type(hub.get_session()).__module__.partition(".")[0])
    found = getattr(client, "HTTPError", OSError)
    return OSError, found


def _ignored(names: list[str]) -> tuple[str, ...]:
    """Weights that are there in a safer form as well; of OpenVINO's graphs the ``.bin`` files are needed."""
    graphs = tuple(name.removesuffix(".xml") + ".bin" for name in names if name.endswith(".xml"))
    bins = tuple(name for name in names if name.endswith(".bin") and name not in graphs)
    return (*bins, *[pattern for pattern in _PICKLED if pattern != "*.bin"])
