"""What every runtime must do. Subclass ``RuntimeContract`` in a test module and give it ``runtime`` and ``artifact`` fixtures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.runtimes.base import LoadOptions, Runtime


@dataclass(frozen=True)
class Sample:
    """An artifact of the format, with inputs of three rows that it accepts and what it makes of them."""

    folder: Path
    entry: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


class RuntimeContract:
    """The contract, as tests."""

    def test_a_loaded_model_says_what_it_takes_and_gives(self, runtime: Runtime, sample: Sample) -> None:
        model = runtime.load(sample.folder, sample.entry, LoadOptions())
        assert model.signature.check_inputs(sample.inputs) == 3
        outputs = model.infer(sample.inputs)
        assert list(outputs) == [spec.name for spec in model.signature.outputs]
        for spec in model.signature.outputs:
            assert isinstance(outputs[spec.name], np.ndarray)
            if spec.datatype is not Datatype.BYTES:
                assert outputs[spec.name].dtype == NUMPY[spec.datatype]
        model.close()

    def test_it_computes_what_the_sample_says(self, runtime: Runtime, sample: Sample) -> None:
        model = runtime.load(sample.folder, sample.entry, LoadOptions(threads=2))
        outputs = model.infer(sample.inputs)
        for name, wanted in sample.outputs.items():
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(outputs[name].astype(np.float64), wanted.astype(np.float64), rtol=1e-5)
            else:
                assert outputs[name].tolist() == wanted.tolist()
        model.close()

    def test_inputs_are_left_as_they_were(self, runtime: Runtime, sample: Sample) -> None:
        model = runtime.load(sample.folder, sample.entry, LoadOptions())
        before = {name: array.copy() for name, array in sample.inputs.items()}
        for array in sample.inputs.values():
            array.setflags(write=False)
        model.infer(sample.inputs)
        for name, array in sample.inputs.items():
            assert array.tolist() == before[name].tolist()
        model.close()

    def test_threads_may_call_it_at_once(self, runtime: Runtime, sample: Sample) -> None:
        model = runtime.load(sample.folder, sample.entry, LoadOptions())
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: model.infer(sample.inputs), range(32)))
        first = next(iter(results[0]))
        assert all(result[first].tolist() == results[0][first].tolist() for result in results)
        model.close()

    def test_closing_twice_is_harmless(self, runtime: Runtime, sample: Sample) -> None:
        model = runtime.load(sample.folder, sample.entry, LoadOptions())
        model.close()
        model.close()
        with pytest.raises(ModelyardError):
            model.infer(sample.inputs)

    def test_it_refuses_what_it_cannot_read_in_one_silent_sentence(
        self, runtime: Runtime, sample: Sample, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        content = (sample.folder / sample.entry).read_bytes()
        for broken in (b"", b"hello", content[: len(content) // 2]):
            (tmp_path / sample.entry).write_bytes(broken)
            with pytest.raises(InvalidArtifact) as caught:
                runtime.load(tmp_path, sample.entry, LoadOptions())
            assert str(tmp_path) not in caught.value.message
            assert "Traceback" not in caught.value.message
        with pytest.raises(InvalidArtifact):
            runtime.load(tmp_path, "missing" + sample.entry, LoadOptions())
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")
