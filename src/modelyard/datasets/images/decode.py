"""From the bytes of an image file to pixels, the same way wherever a file is read: in training, and before a call."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from modelyard.core.errors import InvalidData

Pixels = NDArray[np.uint8]
"""``[height, width, channels]``."""
_MOST_PIXELS = 50_000_000
_GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_TURNABLE = frozenset({"JPEG", "MPO", "TIFF", "WEBP"})
"""Forms of photos, which say which side is up; of others Pillow tells that only after decoding them."""


class UnreadableImage(InvalidData):
    """A file that is no image, or a damaged one."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say, turned as it is meant to be seen."""

    height: int
    width: int
    grey: bool


def read_header(source: IO[bytes] | bytes) -> Header:
    """Raises UnreadableImage."""
    with _opened(source) as image:
        turned = image.format in _TURNABLE and image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        width, height = image.size
        return Header(*((width, height) if turned else (height, width)), grey=image.mode in _GREY)


def decode(source: IO[bytes] | bytes, channels: int) -> Pixels:
    """Pixels in 1 (grey) or 3 channels (red, green, blue); what is transparent is seen on white.

    Raises UnreadableImage.
    """
    with _opened(source) as image:
        try:
            image.load()
            seen = ImageOps.exif_transpose(image) if image.format in _TURNABLE else image
            pixels = np.asarray(_flat(seen).convert("L" if channels == 1 else "RGB"))
        except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            raise UnreadableImage(f"damaged ({_first_line(error)})") from None
    return pixels.reshape(pixels.shape[0], pixels.shape[1], channels)


def _opened(source: IO[bytes] | bytes) -> Any:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(stream)
            width, height = image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError):
        raise UnreadableImage("no image that Pillow reads") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImage(f"more than {_MOST_PIXELS:,} pixels") from None
    if width * height > _MOST_PIXELS:
        raise UnreadableImage(f"more than {_MOST_PIXELS:,} pixels")
    return image


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:  # 16 bits a pixel: Pillow itself would cut them off at 255
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(deep, 0, 65_535) // 257).astype(np.uint8))
    if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image


def _first_line(error: BaseException) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:120]
