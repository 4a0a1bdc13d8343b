"""PyTorch: ``torch.export`` archives (``.pt2``), TorchScript, and a module's Python file with safetensors weights."""

from __future__ import annotations

from modelyard.core.errors import InvalidArtifact
from modelyard.importers.base import Bench, Converted, Importer, Original, heavy
from modelyard.importers.brought import Brought
from modelyard.importers.spec import Part

_PROGRAM = "such a file is a program of its maker's"


class PyTorch(Importer):
    """See the module. All three are programs; state dictionaries alone (``torch.save``) are refused, because they are no models."""

    name = "torch"

    def find(self, brought: Brought) -> list[Part]:
        path = brought.only
        if path:
            return self._archive(brought, path)
        code, weights = brought.named(".py"), brought.named(".safetensors")
        if len(code) == len(weights) == 1 and not brought.has("config.json"):
            return [
                Part(
                    importer=self.name,
                    entry=code[0],
                    title="a PyTorch module with safetensors weights",
                    runs_code="the module's file is a program",
                    options={"kind": "module", "weights": weights[0]},
                )
            ]
        return []

    def _archive(self, brought: Brought, path: str) -> list[Part]:
        inner = {name.partition("/")[2] for name in brought.zip_names(path)}
        if "archive_format" in inner or any(name.endswith("models/model.json") or name.startswith("models/") for name in inner):
            return [Part(importer=self.name, entry=path, title="a torch.export archive", runs_code=_PROGRAM, options={"kind": "exported"})]
        if any(name.startswith("code/") for name in inner) and "data.pkl" in inner:
            pickles = (path,)
            return [
                Part(
                    importer=self.name,
                    entry=path,
                    title="a TorchScript archive",
                    runs_code=_PROGRAM,
                    pickles=pickles,
                    options={"kind": "script"},
                )
            ]
        if "data.pkl" in inner:
            raise InvalidArtifact(
                f"{path!r} is what torch.save writes: weights or a pickled module, no program. Export it with torch.export, or push "
                "a folder with the module's Python file and its weights as safetensors."
            )
        return []

    def convert(self, bench: Bench) -> Converted:
        made: Converted = heavy("modelyard.importers.torch_models:convert", "torch")(bench)
        return made

    def original(self, bench: Bench) -> Original:
        found: Original = heavy("modelyard.importers.torch_models:original", "torch")(bench)
        return found


IMPORTER = PyTorch()
