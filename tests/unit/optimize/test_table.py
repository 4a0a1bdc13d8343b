import subprocess
import sys

import pytest

from modelyard.core.errors import NotFound
from modelyard.optimize.table import check_pass

HEAVY = {"onnx", "onnxruntime", "sklearn", "torch", "matplotlib"}


def test_a_pass_that_is_not_there_names_the_nearest():
    check_pass("prune:0.5")
    with pytest.raises(NotFound, match=r"There is no pass 'fp61'\. Did you mean 'fp16'"):
        check_pass("fp61")


def test_the_controller_checks_passes_without_loading_them():
    code = (
        "import sys, modelyard.server.wiring.optimizing; from modelyard.optimize.table import check_pass; check_pass('int8:static');"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_children_are_judged_without_loading_the_families_of_tables():
    code = "import sys, modelyard.optimize.held_out; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "scipy", "skl2onnx", "pandas", "torch", "matplotlib"} & set(loaded)
