import re
import struct
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from modelyard.evaluation.curves import scores_by_rows_picture
from modelyard.evaluation.optimizing import tuning_picture
from modelyard.evaluation.plots import confusion_picture, leaderboard_picture, residual_picture

rows = [
    {"title": "Forest", "mean": 0.9, "std": 0.02, "status": "selected"},
    {"title": "Tree", "mean": 0.8, "std": 0.05, "status": "ranked"},
    {"title": "Broken", "mean": None, "std": None, "status": "failed"},
]
points = [{"rows": rows, "mean": mean, "std": 0.02, "folds": 5} for rows, mean in ((22, 0.7), (55, 0.9), (110, 0.94), (220, 0.95))]
numbers = np.linspace(-1e6, 1e6, 50)
pictures = {
    "confusion": lambda: confusion_picture(np.array([[5, 1], [0, 7]]), ["a $very$ long name of a class", "<b>"], "species: 13 rows"),
    "many classes": lambda: confusion_picture(np.eye(60, dtype=np.int64), [f"class {at}" for at in range(60)], "many"),
    "residuals": lambda: residual_picture(numbers, numbers * 1.1, "price"),
    "leaderboard": lambda: leaderboard_picture(rows, "f1_macro", higher_is_better=True),
    "scores by rows": lambda: scores_by_rows_picture(points, "Random forest", "f1_macro"),
    "negative": lambda: leaderboard_picture([{**rows[0], "mean": -0.5}], "r2", higher_is_better=True),
}


@pytest.mark.parametrize("name", pictures)
def test_pictures_are_whole_and_equal_every_time(name):
    made, again = pictures[name](), pictures[name]()
    assert made == again
    assert made["png"].startswith(b"\x89PNG")
    width, height = struct.unpack(">II", made["png"][16:24])
    assert 300 < width < 2000
    assert 150 < height < 2000
    assert ET.fromstring(made["svg"]).tag.endswith("svg")


def test_svg_texts_stay_texts():
    svg = pictures["confusion"]()["svg"].decode()
    assert "&lt;b&gt;" in svg
    assert "species: 13 rows" in svg
    assert "a $very$ …of a class" in svg


def test_only_ranked_families_get_a_bar():
    svg = pictures["leaderboard"]()["svg"].decode()
    assert "Forest" in svg
    assert "Broken" not in svg


@pytest.mark.parametrize(("times", "told"), [((2.12, 2.4, 2.9), "2.4"), ((0.3, 40, 900), "100")])
def test_times_of_trials_can_be_read_whether_near_or_far_apart(times, told):
    tried = [{"title": "as it is", "p99_ms": time, "loss": 0.0, "size_bytes": 100, "best": True} for time in times]
    texts = re.findall(r">([^<]+)</text>", tuning_picture(tried, times[1])["svg"].decode())
    assert told in texts
    assert sum(times[0] <= float(text) <= times[-1] for text in texts if re.fullmatch(r"[\d.]+", text)) >= 3
