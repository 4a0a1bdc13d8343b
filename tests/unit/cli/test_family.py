import xml.etree.ElementTree as ET
from types import SimpleNamespace

from modelyard.cli.family import family_of, members, picture


def version(number, parent=0, report=None, **more):
    return SimpleNamespace(
        id=100 + number,
        number=number,
        model="net",
        reference=f"net@{number}",
        artifact=SimpleNamespace(size=1000 * (6 - number)),
        profile=SimpleNamespace(single_us=50.0),
        lineage=SimpleNamespace(parent_version_id=100 + parent if parent else 0, detail={"pass": "int8 <&>"} if parent else {}),
        report=report or {},
        metrics={"accuracy": 0.9},
        **more,
    )


def optimized(quality, *, kept):
    return {
        "optimization": {
            "quality": {"metric": "accuracy", "child": {"value": quality}},
            "child": {"batch_1": {"p50_us": 25.0}},
            "verdict": {"kept": kept},
        }
    }


FAMILY = [
    version(1, report={"metric": "accuracy"}),
    version(2, 1, optimized(0.89, kept=True)),
    version(3),
    version(4, 2, optimized(0.5, kept=False)),
    version(5, 3, optimized(0.1, kept=True)),
]


def test_a_family_is_a_version_and_all_that_descends_from_it():
    found = members(family_of(FAMILY[0], FAMILY[::-1]))
    assert [row.title for row in found] == ["net@1", "net@2", "net@4"]
    assert [row.verdict for row in found] == ["", "kept", "flagged"]
    assert [(row.metric, row.quality, row.p50_us) for row in found] == [
        ("accuracy", 0.9, 50.0),
        ("accuracy", 0.89, 25.0),
        ("accuracy", 0.5, 25.0),
    ]
    assert [row.title for row in members(family_of(FAMILY[1], FAMILY))] == ["net@2", "net@4"]


def test_the_picture_is_a_drawing_with_a_bar_for_each():
    drawn = ET.fromstring(picture("net@1 & <more>", members(family_of(FAMILY[0], FAMILY))))
    names = [element.tag.rpartition("}")[2] for element in drawn]
    assert names.count("rect") == 1 + 3 * 3
    assert any("int8 <&>" in (element.text or "") for element in drawn)
