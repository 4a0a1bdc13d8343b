"""Every page about making models shows what the product draws; every picture is small, whole, and drawn by ``scripts/pictures.py``."""

import re
import runpy
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from docs.pages import ROOT

HOWTO = ROOT / "docs/howto"
TAKEN = runpy.run_path(str(ROOT / "scripts/pictures.py"))["PICTURES"]
FILES = sorted((HOWTO / "pictures").iterdir())
MOST_BYTES = 60_000


@pytest.mark.parametrize("page", TAKEN)
def test_a_page_shows_the_pictures_that_are_taken_for_it(page):
    shown = set(re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", (HOWTO / f"{page}.md").read_text()))
    assert {name.rpartition(".")[0] for name in shown} == {f"{page}-{one.name}" for one in TAKEN[page]}
    assert shown <= {file.name for file in FILES}


def test_no_picture_is_left_over():
    assert [file.name for file in FILES if f"(pictures/{file.name})" not in "".join(page.read_text() for page in HOWTO.glob("*.md"))] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_picture_is_small_and_whole(file):
    assert file.stat().st_size < MOST_BYTES
    if file.suffix == ".svg":
        assert {"script", "image"}.isdisjoint(element.tag.rpartition("}")[2] for element in ET.parse(file).iter())
        return
    with Image.open(file) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 200
