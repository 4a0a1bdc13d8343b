import json
import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

from job_context import quick_pictures  # noqa: F401  # a fixture

CLASSIFIERS = ["logistic", "svm", "tree", "forest", "boosting", "knn", "mlp"]
REGRESSORS = ["linear", "ridge", "lasso", "svm", "tree", "forest", "boosting", "knn", "mlp"]


@pytest.fixture(scope="module")
def species(train):
    return train(target="species")


@pytest.fixture(scope="module")
def mass(train):
    return train(target="body_mass_g", budget={"trials": 1})


def answer(trained, **row):
    session = ort.InferenceSession(trained.model.read_bytes())
    inputs = {}
    for value in session.get_inputs():
        text = value.type == "tensor(string)"
        inputs[value.name] = np.array([[row.get(value.name, "" if text else math.nan)]], object if text else np.float32)
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs), strict=True))


def test_the_species_are_learned_from_categories_and_gaps(species):
    assert species.result["metrics"]["accuracy"] > 0.95
    assert species.result["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert {key: species.result[key] for key in ("model", "entry", "format", "dataset_digest")} == {
        "model": "penguins",
        "entry": "model.onnx",
        "format": "onnx",
        "dataset_digest": "ab" * 32,
    }


def test_every_family_that_suits_is_on_the_leaderboard(species, mass):
    assert sorted(row["family"] for row in species.result["report"]["leaderboard"]) == sorted(CLASSIFIERS)
    assert sorted(row["family"] for row in mass.result["report"]["leaderboard"]) == sorted(REGRESSORS)
    assert [row["status"] for row in mass.result["report"]["leaderboard"]].count("selected") == 1


def test_the_model_takes_words_gaps_and_words_never_seen(species):
    gentoo = answer(
        species,
        island="Biscoe",
        bill_length_mm=47.0,
        bill_depth_mm=14.5,
        flipper_length_mm=217.0,
        body_mass_g=5100.0,
        sex="male",
        year=2008,
    )
    assert gentoo["label"].tolist() == ["Gentoo"]
    assert gentoo["probabilities"].shape == (1, 3)
    assert gentoo["probabilities"].sum() == pytest.approx(1.0, abs=1e-5)
    for row in ({}, {"island": "Atlantis", "sex": "unknown"}):
        assert np.isfinite(answer(species, **row)["probabilities"]).all()


def test_the_mass_is_regressed(mass):
    assert mass.result["metrics"]["r2"] > 0.75
    assert set(mass.result["metrics"]) == {"r2", "rmse", "mae"}
    assert 3000 < answer(mass, species="Adelie", sex="female")["prediction"][0, 0] < 4500
    assert mass.result["report"]["rows"]["without_target"] == 2


def test_the_attachments_tell_the_whole_story(species, mass):
    assert {path.name for path in species.attachments.iterdir()} == {
        "confusion_matrix.svg",
        "confusion_matrix.png",
        "calibration.svg",
        "calibration.png",
        "report.html",
        "scores_by_rows.svg",
        "scores_by_rows.png",
        "leaderboard.svg",
        "leaderboard.png",
        "leaderboard.json",
        "data_profile.svg",
        "data_profile.png",
        "profile.json",
        "recipe.yaml",
    }
    assert (mass.attachments / "residuals.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((species.attachments / "recipe.yaml").read_text()) == {"target": "species"}
    profile = json.loads((species.attachments / "profile.json").read_text())
    columns = {column["name"]: column for column in profile["columns"]}
    facts = {fact["what"]: (fact["before"], fact["after"]) for fact in profile["facts"]}
    assert facts["rows"] == (344, 344)
    assert facts["missing values"][0] > 11
    assert facts["missing values"][1] == 0
    assert sum(part["rows"] for part in profile["splits"]) == 344
    assert columns["sex"]["missing"] == 11
    assert columns["species"]["role"] == "target"
    assert columns["body_mass_g"]["kind"] == "number"


def test_the_report_is_plain_data_with_the_proof(species, mass):
    for trained in (species, mass):
        json.dumps(trained.result, allow_nan=False)
        assert trained.result["report"]["proof"]["holds"]
    counts = species.result["report"]["evaluation"]["confusion_matrix"]["counts"]
    assert np.sum(counts) == species.result["report"]["rows"]["held_out"]


def test_progress_only_goes_forward(species):
    fractions = [fraction for _, fraction, _ in species.told]
    assert fractions == sorted(fractions)
    assert species.told[-1][:2] == ("done", 1.0)
    assert {stage for stage, _, _ in species.told} == {"read", "profile", "search", "fit", "evaluate", "done"}


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_every_classifier_becomes_a_graph_that_agrees(train, family):
    proof = train(target="species", families=[family], budget={"trials": 1}, folds=2).result["report"]["proof"]
    assert proof["held_out"]["label_agreement"] == 1.0
    assert proof["damaged"]["label_agreement"] == 1.0
    assert proof["held_out"]["probability_error"]["p99"] < 1e-5


@pytest.mark.parametrize("family", REGRESSORS)
def test_every_regressor_becomes_a_graph_that_agrees(train, family):
    proof = train(target="body_mass_g", families=[family], budget={"trials": 1}, folds=2).result["report"]["proof"]
    assert proof["held_out"]["p99"] < 1e-5
    assert proof["damaged"]["p99"] < 1e-5


def test_the_same_recipe_gives_the_same_model_byte_for_byte(train):
    recipe = {"target": "sex", "families": ["forest", "svm"], "budget": {"trials": 1}, "folds": 2, "seed": 5}
    first, second = train(**recipe), train(**recipe)
    assert first.model.read_bytes() == second.model.read_bytes()
    assert first.result["metrics"] == second.result["metrics"]
    for path in first.attachments.iterdir():
        if path.name not in {"leaderboard.json", "report.html"}:  # They tell times.
            assert path.read_bytes() == (second.attachments / path.name).read_bytes(), path.name
    other = train(**(recipe | {"seed": 6}))
    assert other.model.read_bytes() != first.model.read_bytes()


def test_rare_classes_and_two_folds_do_no_harm(train, tmp_path):
    path = tmp_path / "rare.csv"
    rows = [f"{at % 7},{'abcd'[at % 4]},{'xyz'[at % 2]}" for at in range(60)] + ["1,a,z", "2,b,z"]
    path.write_text("n,w,y\n" + "\n".join(rows) + "\n")
    trained = train(path, target="y")
    assert trained.result["classes"] == ["x", "y", "z"]


def test_a_whole_number_target_is_answered_as_int64(train):
    trained = train(target="year", families=["tree"])
    labels = {output.name: output.type.tensor_type.elem_type for output in onnx.load(trained.model).graph.output}
    assert labels["label"] == onnx.TensorProto.INT64
    assert trained.result["classes"] == ["2007", "2008", "2009"]
