"""An image training in this process, on real images: from the file to the graph that is served."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from digits import digit_arrays, write_archive
from job_context import JobContext, quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.datasets.images.decode import decode
from modelyard.train.job import run

QUICK = {
    "kind": "images",
    "network": {"kind": "feedforward", "width": 4, "depth": 1},
    "learning": {"epochs": 12, "batch_size": 32, "optimizer": {"learning_rate": 0.01}},
}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    def _train(path, **recipe):
        context = JobContext({"recipe": QUICK | recipe, "dataset": {"filename": path.name}}, tmp_path_factory.mktemp("job"), {"data": path})
        context.result = run(context)
        return context

    return _train


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("data") / "digits.zip", 500, **{"digits/1/broken.png": b"no image"})


@pytest.fixture(scope="module")
def digits(train, archive):
    return train(archive, augmentation={"rotation": 10, "shift": 0.1}, class_weights="balanced", label_smoothing=0.05)


def test_digits_are_learned_and_judged_on_held_out_images(digits):
    result = digits.result
    assert result["metrics"]["accuracy"] > 0.7
    interval = result["report"]["evaluation"]["intervals"]["accuracy"]
    assert interval["low"] <= result["metrics"]["accuracy"] <= interval["high"]
    slices = result["report"]["evaluation"]["slices"]
    assert {entry["column"] for entry in slices["slices"]} == {"brightness", "contrast"}
    assert slices["slices"][0]["score"] <= result["metrics"]["accuracy"], "the worst first"
    assert result["classes"] == list("0123456789")
    assert result["model"] == "digits"
    rows = result["report"]["rows"]
    assert rows["train"] + rows["validation"] + rows["held_out"] + result["report"]["source"]["dropped_as_copies"] == 500
    assert result["report"]["source"]["unreadable"] == 1
    json.dumps(result, allow_nan=False)


def test_the_graph_answers_raw_images_as_the_trainer_did(digits, archive):
    session = ort.InferenceSession((digits.folder / "output/artifact/model.onnx").read_bytes())
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("image", "tensor(uint8)", [8, 8, 1])
    lines = (digits.folder / "output/attachments/held_out.csv").read_text().splitlines()[1:41]
    with zipfile.ZipFile(archive) as file:
        for line in lines:
            name, _, predicted, *shares = line.split(",")
            label, probabilities = session.run(None, {"image": decode(file.read(name), 1)[None]})
            assert label[0] == predicted
            np.testing.assert_allclose(probabilities[0], [float(share) for share in shares], atol=1e-5)
    assert digits.result["report"]["proof"]["holds"]


def test_the_graph_tells_nothing_of_this_machine(digits):
    content = (digits.folder / "output/artifact/model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    model = onnx.load_from_string(content)
    assert json.loads({entry.key: entry.value for entry in model.metadata_props}["modelyard.classes"]) == list("0123456789")


def test_the_attachments_tell_the_whole_story(digits):
    folder = digits.folder / "output/attachments"
    pictures = {
        f"{name}.{end}"
        for name in ("confusion_matrix", "learning_curves", "calibration", "hardest_images", "data_profile")
        for end in ("svg", "png")
    }
    assert {path.name for path in folder.iterdir()} == pictures | {
        "recipe.yaml",
        "profile.json",
        "held_out.csv",
        "history.json",
        "report.html",
    }
    profile = json.loads((folder / "profile.json").read_text())
    assert profile["unreadable"] == {"digits/1/broken.png": "no image that Pillow reads"}
    facts = {fact["what"]: (fact["before"], fact["after"]) for fact in profile["facts"]}
    assert facts["that cannot be read"] == (1, 0)
    assert facts["images"][1] == sum(part["rows"] for part in profile["splits"])
    assert not (digits.folder / "output/pixels.npy").exists()
    fractions = [fraction for _, fraction, _ in digits.told]
    assert fractions == sorted(fractions)


def test_images_of_any_size_are_brought_to_one_inside_the_graph(train, tmp_path):
    images, labels = digit_arrays(150)
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as archive:
        for at, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            out = io.BytesIO()
            Image.fromarray(pixels).resize((8 + at % 5, 8 + at % 3)).convert("RGB").save(out, "PNG")
            archive.writestr(f"{label}/{at}.png", out.getvalue())
    made = train(tmp_path / "mixed.zip", network={"kind": "lenet", "width": 4}, learning={"epochs": 1, "batch_size": 32})
    proof = made.result["report"]["proof"]
    assert proof["original_difference"] < 1e-5
    session = ort.InferenceSession((made.folder / "output/artifact/model.onnx").read_bytes())
    assert session.get_inputs()[0].shape == ["rows", "height", "width", 3]
    for shape in ((2, 20, 31, 3), (1, 1, 1, 3), (3, 9, 8, 3)):
        assert session.run(["probabilities"], {"image": np.zeros(shape, np.uint8)})[0].shape == (shape[0], 10)


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ({"class_weights": {"11": 2.0}}, InvalidRequest, "names the class '11'"),
        ({"on_corrupt": "refuse"}, InvalidData, r"1 of the 501 images.*broken\.png"),
        ({"network": {"kind": "lenet"}, "size": [3, 8]}, InvalidRequest, "LeNet halves images twice"),
        ({"learning": {"epoch": 3}}, InvalidRequest, "unknown field 'learning.epoch'.*'epochs'"),
        ({"target": "x"}, InvalidRequest, "unknown field 'target'"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(train, archive, recipe, error, message):
    with pytest.raises(error, match=message) as caught:
        train(archive, **recipe)
    assert "\n" not in caught.value.message


def test_the_controller_and_tables_load_no_torch():
    code = (
        "import sys; import modelyard.server.wiring.kinds, modelyard.control.app, modelyard.train.pipeline, modelyard.optimize.held_out;"
        "print([name for name in ('torch', 'PIL') if name in sys.modules and name == 'torch'])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_networks_are_trained_without_loading_the_families_of_tables():
    code = (
        "import sys, modelyard.train.networks.image_job, modelyard.train.networks.image_trials, modelyard.train.tuning.trials;"
        "print([name for name in ('sklearn', 'scipy', 'skl2onnx', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
