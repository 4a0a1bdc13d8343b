"""ONNX graphs inside what others wrap: kept as they are, and compared with what ONNX Runtime alone gives."""

from __future__ import annotations

import shutil
from pathlib import PurePosixPath

import onnxruntime

from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted, Importer
from modelyard.importers.brought import Brought
from modelyard.importers.samples import Inputs
from modelyard.importers.spec import Part
from modelyard.runtimes.onnx_check import check_onnx
from modelyard.runtimes.versions import versions


class Onnx(Importer):
    """See the module. A graph is data."""

    name = "onnx"

    def find(self, brought: Brought) -> list[Part]:
        graphs = brought.named(".onnx")
        return [Part(importer=self.name, entry=graphs[0], title="an ONNX model")] if len(graphs) == 1 else []

    def convert(self, bench: Bench) -> Converted:
        entry = bench.part.entry
        check_onnx(bench.folder, entry)
        beside = PurePosixPath(entry).parent
        for path in Brought(bench.folder / beside).files:
            (bench.made / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bench.folder / beside / path, bench.made / path)
        session = onnxruntime.InferenceSession(str(bench.folder / entry), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def original(inputs: Inputs) -> dict[str, Array]:
            return dict(zip(names, session.run(names, inputs), strict=True))

        return Converted(
            entry=PurePosixPath(entry).name, format="onnx", how="as it is", original=original, rows=16, environment=versions("onnxruntime")
        )


IMPORTER = Onnx()
