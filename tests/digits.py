"""Real images, small enough for every test: the handwritten digits that scikit-learn brings, 8 by 8 pixels each."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def digit_arrays(count=1797):
    """Bytes ``[N, 8, 8]`` and labels."""
    found = load_digits()
    return np.rint(found.images[:count] * (255 / 16)).astype(np.uint8), found.target[:count]


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_folder(folder, count=1797):
    """A folder with a sub-folder a digit."""
    for at, (image, label) in enumerate(zip(*digit_arrays(count), strict=True)):
        place = Path(folder) / str(label) / f"{at:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(image))
    return Path(folder)


def write_archive(path, count=1797, **extra):
    """The same as one archive, with more members by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for at, (image, label) in enumerate(zip(*digit_arrays(count), strict=True)):
            archive.writestr(f"digits/{label}/{at:04d}.png", png(image))
        for name, content in extra.items():
            archive.writestr(name, content)
    return Path(path)
