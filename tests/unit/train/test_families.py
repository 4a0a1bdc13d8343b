import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from modelyard.train.families import FAMILIES
from modelyard.train.problem import Task
from modelyard.train.trainers.base import Shape

SHAPES = [Shape(task, rows, 5, 3 if task is Task.CLASSIFICATION else 0, 0) for task in Task for rows in (60, 5_000)]


@pytest.mark.parametrize("name", FAMILIES.names())
def test_a_family_keeps_the_contract(name):
    trainer = FAMILIES.get(name)
    assert trainer.title
    assert trainer.tasks
    for shape in SHAPES:
        assert trainer.candidates(shape)
        assert isinstance(trainer.reluctance(shape), str)


@pytest.mark.parametrize("name", FAMILIES.names())
@threadpool_limits.wrap(limits=1)
def test_a_family_fits_predicts_and_repeats_itself(name):
    trainer = FAMILIES.get(name)
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 5)).astype(np.float32)
    for task in trainer.tasks:
        shape = Shape(task, 60, 5, 3 if task is Task.CLASSIFICATION else 0, 0)
        target = np.arange(60) % 3 if task is Task.CLASSIFICATION else features[:, 0].astype(np.float64)
        first, second = (trainer.fit(trainer.candidates(shape)[0], shape, features, target).predict(features) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert first.shape == ((60, 3) if task is Task.CLASSIFICATION else (60,))


def test_a_class_that_a_fold_lacks_has_probability_zero():
    trainer = FAMILIES.get("tree")
    shape = Shape(Task.CLASSIFICATION, 20, 1, 3, 0)
    features = np.arange(20, dtype=np.float32).reshape(-1, 1)
    found = trainer.fit({}, shape, features, np.array([0, 2] * 10)).predict(features)
    assert found.shape == (20, 3)
    assert np.all(found[:, 1] == 0)


def test_naming_families_and_checking_recipes_load_no_machine_learning_library():
    code = (
        "import sys; import modelyard.train.recipes.parse, modelyard.train.job;"
        "from modelyard.train.families import FAMILIES; FAMILIES.names();"
        "print([name for name in ('sklearn', 'skl2onnx', 'matplotlib', 'onnx', 'pyarrow', 'torch', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
