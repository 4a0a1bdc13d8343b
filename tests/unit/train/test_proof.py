import numpy as np
import pytest
from onnx import numpy_helper

from modelyard.datasets.prepare import PreparationOptions
from modelyard.train.families import FAMILIES
from modelyard.train.graph import build_graph
from modelyard.train.model import fit_model, prepare_rows, shape_of
from modelyard.train.proof import prove


@pytest.fixture
def made(problem_of):
    def _made(target, family):
        problem = problem_of(target=target)
        prepared = prepare_rows(problem, PreparationOptions(), problem.train)
        trainer = FAMILIES.get(family)
        shape = shape_of(problem, *prepared.features.shape, 1)
        model = fit_model(trainer, trainer.candidates(shape)[0], shape, prepared)
        return problem, model, build_graph(model, problem, family, [])

    return _made


def damage(graph, name, change):
    for constant in graph.graph.initializer:
        if constant.name == name:
            constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant).copy()), name))
    return graph


def test_an_honest_graph_passes_on_held_out_and_damaged_rows(made):
    problem, model, graph = made("species", "logistic")
    proof = prove(graph.SerializeToString(), model, problem)
    assert proof.holds
    assert proof.report["held_out"]["label_agreement"] == 1.0
    assert proof.report["damaged"]["label_agreement"] == 1.0
    assert proof.report["rows"] == len(problem.test)
    assert proof.report["single_row_difference"] < 1e-6


def test_a_graph_with_other_labels_fails(made):
    problem, model, graph = made("species", "logistic")
    damage(graph, "modelyard.shift", lambda shift: shift + 30)
    proof = prove(graph.SerializeToString(), model, problem)
    assert not proof.holds
    assert "labels agree" in proof.reason


def test_a_graph_with_other_quantities_fails(made):
    problem, model, graph = made("body_mass_g", "ridge")
    assert prove(graph.SerializeToString(), model, problem).holds
    damage(graph, "modelyard.mean", lambda mean: (mean * 1.01).astype(np.float32))
    proof = prove(graph.SerializeToString(), model, problem)
    assert not proof.holds
    assert "99 % quantile" in proof.reason
