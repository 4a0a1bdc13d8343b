import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.answers_picture import in_words, picture

TITLES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=60)
LABELS = st.fixed_dictionaries({"counts": st.dictionaries(TITLES, st.integers(0, 10**9), max_size=20), "others": st.integers(0, 10**9)})
ENDS = st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=2).map(sorted)
NUMBERS = st.fixed_dictionaries({"ends": ENDS, "counts": st.lists(st.integers(0, 10**9), min_size=20, max_size=20)})
FOUND = LABELS | st.fixed_dictionaries({"mean": st.floats(-1e30, 1e30), "spread": NUMBERS})


@given(TITLES, st.dictionaries(TITLES, FOUND, max_size=3))
def test_the_picture_is_svg_whatever_was_answered(title, answers):
    root = ET.fromstring(picture(title, answers))
    height = float(root.attrib["viewBox"].split()[3])
    bars = root.findall(".//{http://www.w3.org/2000/svg}rect")[1:]
    assert all(0 <= float(bar.attrib["width"]) <= 720 and float(bar.attrib["y"]) < height for bar in bars)
    assert all("\n" not in in_words(name, found) for name, found in answers.items())


def test_words_and_bars_say_the_same():
    labels = {"counts": {"Adelie": 3, "": 1}, "others": 2}
    numbers = {"mean": 1234.5678, "spread": {"ends": [1000.0, 2000.0], "counts": [1, 3]}}
    assert in_words("label", labels) == "label: Adelie 3, (empty) 1, others 2"
    assert in_words("value", numbers) == "value: 1000 to 2000, 1235 in the mean"
    drawn = picture("6 rows", {"label": labels, "value": numbers})
    assert all(told in drawn for told in ("3 (50.0%)", "(empty)", "others", "1500 to 2000", "3 (75.0%)"))
