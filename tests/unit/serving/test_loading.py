from dataclasses import dataclass, field

import pytest

from modelyard.core.deployments import ServedVersion
from modelyard.core.models import Artifact, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.runtimes.base import LoadOptions, Runtime
from modelyard.serving import loading
from modelyard.serving.loading import VersionLoader
from modelyard.testing.fakes import FunctionModel

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 2)),),
)


@dataclass
class Recorder(Runtime):
    """A runtime that notes how it was asked to load."""

    asked: list[LoadOptions] = field(default_factory=list)

    def load(self, folder, entry, options):
        self.asked.append(options)
        return FunctionModel(SIGNATURE, lambda inputs: {"y": inputs["x"]})


class Folders:
    def __init__(self, folder):
        self._folder = folder

    def materialize(self, artifact):
        return self._folder


@pytest.mark.parametrize(("single_us", "kept"), [(20.0, False), (4000.0, True)])
def test_only_long_runs_keep_their_memory(single_us, kept, tmp_path, monkeypatch):
    runtime = Recorder()
    monkeypatch.setattr(loading.RUNTIMES, "get", lambda name: runtime)
    version = ServedVersion(
        id=1,
        model="m",
        number=1,
        artifact=Artifact(digest="0" * 64, format="onnx", entry="m.onnx", files=()),
        signature=SIGNATURE,
        profile=Profile(row_independent=True, single_us=single_us, inline=True),
    )
    replica = VersionLoader(Folders(tmp_path), threads=3).load(version)
    assert runtime.asked == [LoadOptions(threads=3, keep_memory=kept)]
    assert replica.signature == SIGNATURE
