"""The process that draws."""

import sys

import numpy as np
import pytest

from modelyard.core.errors import JobFailed
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.plots import confusion_picture, residual_picture

COUNTS = np.array([[5, 1], [0, 7]])


def test_pictures_are_those_that_the_functions_draw(tmp_path):
    truth = np.linspace(0, 1, 40)
    with Illustrator(tmp_path) as illustrator:
        illustrator.draw("confusion", "matrix", counts=COUNTS, names=("a", "b"), title="t")
        illustrator.draw("residuals", "rest", true=truth, estimates=truth * 1.1, target="price")
        illustrator.finish()
    assert {path.name for path in tmp_path.iterdir()} == {"matrix.svg", "matrix.png", "rest.svg", "rest.png"}
    assert (tmp_path / "matrix.svg").read_bytes() == confusion_picture(COUNTS, ("a", "b"), "t")["svg"]
    assert (tmp_path / "rest.png").read_bytes() == residual_picture(truth, truth * 1.1, "price")["png"]


def test_many_large_pictures_do_not_block_each_other(tmp_path):
    truth = np.linspace(0, 1, 20_000)
    with Illustrator(tmp_path) as illustrator:
        for at in range(5):
            illustrator.draw("residuals", f"rest{at}", true=truth, estimates=truth, target="price")
        illustrator.finish()
    assert len(list(tmp_path.iterdir())) == 10


def test_what_cannot_be_drawn_is_an_error(tmp_path, capfd):
    with Illustrator(tmp_path) as illustrator:
        illustrator.draw("confusion", "matrix", counts=COUNTS, names=("a", "b"), wrong=1)
        with pytest.raises(JobFailed, match="log has the reason"):
            illustrator.finish()
    assert "wrong" in capfd.readouterr().err


def test_a_dead_process_is_an_error_and_leaves_nothing(tmp_path):
    with Illustrator(tmp_path, (sys.executable, "-c", "raise SystemExit(0)")) as illustrator:
        illustrator._process.wait()
        with pytest.raises(JobFailed):
            illustrator.draw("confusion", "matrix", counts=COUNTS, names=("a", "b"), title="t")


def test_leaving_early_ends_the_process(tmp_path):
    with pytest.raises(ZeroDivisionError), Illustrator(tmp_path) as illustrator:
        raise ZeroDivisionError
    assert illustrator._process.returncode is not None
    assert not list(tmp_path.iterdir())
