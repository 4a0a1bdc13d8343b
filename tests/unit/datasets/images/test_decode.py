import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from digits import png
from modelyard.datasets.images.decode import UnreadableImage, decode, read_header

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def saved(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_grey_stays_grey_and_becomes_colour_where_that_is_wanted():
    assert read_header(png(GRADIENT)) == read_header(io.BytesIO(png(GRADIENT)))
    header = read_header(png(GRADIENT))
    assert (header.height, header.width, header.grey) == (6, 8, True)
    np.testing.assert_array_equal(decode(png(GRADIENT), 1)[..., 0], GRADIENT)
    colour = decode(png(GRADIENT), 3)
    assert colour.shape == (6, 8, 3)
    np.testing.assert_array_equal(colour[..., 1], GRADIENT)


def test_sixteen_bits_keep_their_range():
    deep = (GRADIENT.astype(np.uint16)) * 257
    np.testing.assert_array_equal(decode(saved(Image.fromarray(deep)), 1)[..., 0], GRADIENT)


def test_what_is_transparent_is_seen_on_white():
    layer = np.zeros((2, 2, 4), np.uint8)
    layer[0, 0] = (10, 20, 30, 255)
    pixels = decode(saved(Image.fromarray(layer)), 3)
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[1, 1].tolist() == [255, 255, 255]


def test_a_turned_photo_is_seen_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = saved(Image.fromarray(np.zeros((4, 9, 3), np.uint8)), "JPEG", exif=exif)
    header = read_header(photo)
    assert (header.height, header.width) == (9, 4) == decode(photo, 3).shape[:2]


@pytest.mark.parametrize("content", [b"", b"no image", png(GRADIENT)[:40], png(GRADIENT)[:-30]])
def test_damaged_files_are_told_apart(content):
    with pytest.raises(UnreadableImage):
        decode(content, 1)


@given(st.data())
def test_a_file_with_any_damage_is_an_image_or_unreadable(data):
    content = bytearray(png(GRADIENT))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnreadableImage):
        assert decode(bytes(content), 1).shape[2] == 1
