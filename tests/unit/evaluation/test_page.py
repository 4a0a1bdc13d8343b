"""The page of a version: everything in it, nothing from elsewhere, and nothing that runs."""

import re
from html.parser import HTMLParser
from pathlib import Path

import modelyard
from modelyard.evaluation.page import _CAPTIONS, report_page

RUN = {"batch_1": {"p50_us": 20.0, "p99_us": 30.0, "rows_per_second": 5e4}}
OPTIMIZATION = {
    "pass": "int8",
    "compared_with": "net@1",
    "parent": {"size_bytes": 4000, "nodes": 5} | RUN,
    "child": {"size_bytes": 1000, "nodes": 9} | RUN,
    "difference": {"probabilities": {"largest": 0.01, "relative": 0.02}, "label": {"agreement": 1.0}},
    "quality": {
        "metric": "f1_macro",
        "rows": 60,
        **{side: {"value": 0.9, "low": 0.8, "high": 1.0} for side in ("parent", "child", "loss")},
    },
    "verdict": {"kept": False, "reasons": ["slower: 2.00 times the time at batch 1"]},
    "notes": {
        "int8": {
            "quantized": 3,
            "loss_on_training_rows": 0.001,
            "loss_of_all": 0.2,
            "left_out": [{"node": "last_layer", "operator": "Gemm", "damage": 0.3, "loss_without_it": 0.001}],
        },
        "weights": {"all": 100, "not_zero": 20, "layers": {"w1": 20}},
        "finetuning": [{"step": 1, "epochs": 3, "rows": 90, "loss_before": 0.5, "loss_after": 0.1}],
        "distillation": {
            "student": {"hidden": [8, 4], "weights": 77},
            "temperature": 2.0,
            "mixing": 0.5,
            "rows": {"labelled": 90, "unlabelled": 10},
            "best_epoch": 3,
            "epochs": 5,
        },
    },
}
TUNING = {
    "objective": {"p99_ms": 5.0, "connections": 8},
    "met": True,
    "tried": [
        {
            "best": True,
            "title": "int8, 1 worker(s)",
            "p50_ms": 1.0,
            "p99_ms": 2,
            "per_second": 900.0,
            "loss": 0,
            "size_bytes": 9,
            "rounds": 2,
        }
    ],
    "refused": {"fp16": "it loses too much"},
}


class Tags(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + "\n"


def test_everything_that_is_known_stands_on_the_page(tmp_path):
    (tmp_path / "family.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    (tmp_path / "profile.json").write_text('{"columns": [{"name": "mass", "kind": "number", "missing": 2, "min": 1.5}]}')
    report = {
        "task": "classification",
        "target": "species",
        "rows": {"held_out": 60},
        "optimization": OPTIMIZATION,
        "tuning": TUNING,
        "leaderboard": [{"title": "Forest", "status": "selected", "mean": 0.95, "std": 0.01}],
        "evaluation": {
            "intervals": {"accuracy": {"low": 0.81, "high": 0.99}},
            "calibration": {"error": 0.042, "bins": []},
            "classes": [{"class": "Adelie", "precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 30}],
            "baselines": [{"method": "counted words", "accuracy": 0.8765, "intervals": {}}],
            "improvement": {"over": "counted words", "verdict": "better than counted words: 3.6% more are right"},
            "slices": {
                "metric": "accuracy",
                "slices": [{"column": "island", "value": "Dream", "rows": 25, "score": 0.71, "low": 0.6, "high": 0.8}],
            },
        },
    }
    page = Tags(report_page("net@1 + int8", {"accuracy": 0.9123456}, report, tmp_path).decode())
    for told in (
        *("0.9123", "0.81", "0.042", "Adelie", "Dream", "0.71", "Forest", "mass", "last_layer", "Gemm", "20 of 100 weights", "8, 4"),
        *("Beside simpler methods", "0.8765", "The model is better than counted words: 3.6% more are right."),
        *("flagged, and takes no alias", "slower: 2.00 times", "is kept", "fp16", "it loses too much", "4,000"),
    ):
        assert told in page.text, told
    pictures = [attributes for tag, attributes in page.found if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["family"]
    assert pictures[0]["src"].startswith("data:image/svg+xml;base64,")
    assert {tag for tag, _ in page.found}.isdisjoint({"script", "link", "iframe", "object"})
    assert all(attributes["href"].startswith("#") for tag, attributes in page.found if tag == "a")
    anchors = {attributes["id"] for tag, attributes in page.found if tag == "section"}
    assert {attributes["href"][1:] for tag, attributes in page.found if tag == "a"} == anchors


def test_what_comes_from_outside_is_text():
    wicked = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    report = {
        "target": wicked,
        "task": wicked,
        "features": [wicked],
        "leaderboard": [{"title": wicked, "status": wicked, "note": wicked}],
        "evaluation": {
            "classes": [{"class": wicked, "precision": 1.0}],
            "baselines": [{"method": wicked, wicked: 1.0}],
            "improvement": {"verdict": wicked},
            "slices": {
                "metric": wicked,
                "slices": [{"column": wicked, "value": wicked, "rows": 30, "score": 1.0, "low": 1.0, "high": 1.0}],
            },
        },
        "optimization": OPTIMIZATION | {"pass": wicked, "verdict": {"kept": False, "reasons": [wicked]}},
        "tuning": TUNING | {"refused": {wicked: wicked}},
    }
    content = report_page(wicked, {wicked: 1.0}, report, None).decode()
    assert "<script" not in content
    assert not re.search(r"<img(?! alt)", content)
    assert {tag for tag, _ in Tags(content).found}.isdisjoint({"script", "img"})


def test_a_report_of_another_kind_gives_a_page_too():
    page = report_page("words@1", {"perplexity": float("inf")}, {"rows": 12, "evaluation": None, "leaderboard": []}, None).decode()
    assert "perplexity" in page
    assert "infinite" in page


def test_every_picture_that_is_drawn_for_a_version_has_its_words():
    sources = [path.read_text() for path in Path(modelyard.__file__).parent.rglob("*.py")]
    drawn = {name for text in sources for name in re.findall(r'illustrator\.draw\(\s*"\w+",\s*(?:str\(place / )?"(\w+)"', text)}
    assert {"learning_curves", "hardest_images", "family", "tuning"} <= drawn
    assert drawn == set(_CAPTIONS)
