import gzip
import struct
import zipfile

import numpy as np
import pytest

from digits import digit_arrays, png, write_archive
from modelyard.core.errors import InvalidData
from modelyard.datasets.images.read import ReadOptions, read_images


@pytest.fixture
def read(tmp_path):
    def _read(path, **options):
        return read_images(
            path, path.name, ReadOptions(**options), store=tmp_path / "pixels.npy", resize=lambda *_: pytest.fail("resized"), report=print
        )

    return _read


def idx(array, kind=8):
    return struct.pack(">HBB", 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def test_a_folder_an_npz_and_idx_give_the_same_images(read, tmp_path):
    images, labels = digit_arrays(60)
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        archive.writestr("mnist/train-images-idx3-ubyte", idx(images[:40]))
        archive.writestr("mnist/train-labels-idx1-ubyte.gz", gzip.compress(idx(labels[:40])))
        archive.writestr("mnist/t10k-images.idx3-ubyte", idx(images[40:]))
        archive.writestr("mnist/t10k-labels.idx1-ubyte", idx(labels[40:]))
    folder = read(write_archive(tmp_path / "f.zip", 60))
    assert (folder.layout.height, folder.layout.width, folder.layout.channels, folder.layout.mixed) == (8, 8, 1, False)
    assert folder.classes == tuple("0123456789")
    for name, form in (("d.npz", "npz"), ("i.zip", "idx")):
        other = read(tmp_path / name)
        assert other.collection.form == form
        assert sorted(image.tobytes() for image in other.pixels) == sorted(image.tobytes() for image in folder.pixels)
        assert np.bincount(other.labels).tolist() == np.bincount(folder.labels).tolist()


def test_what_cannot_be_read_is_listed_and_left_out(read, tmp_path):
    path = write_archive(
        tmp_path / "f.zip", 40, **{"digits/1/broken.png": b"no image", "digits/2/half.png": png(digit_arrays(1)[0][0])[:60]}
    )
    found = read(path, most_unreadable=0.1)
    assert len(found) == 40
    assert set(found.unreadable) == {"digits/1/broken.png", "digits/2/half.png"}
    with pytest.raises(InvalidData, match=r"2 of the 42 images.*digits/1/broken\.png: no image"):
        read(path, most_unreadable=0.0)


def test_files_that_say_that_they_are_no_images_are_not_counted(read, tmp_path):
    extra = {"digits/readme.md": b"x", "__MACOSX/digits/1/._a.png": b"x", "digits/.DS_Store": b"x", "digits/1/Thumbs.db": b"x"}
    assert not read(write_archive(tmp_path / "f.zip", 40, **extra)).unreadable


def test_copies_are_found(read, tmp_path):
    images, _ = digit_arrays(40)
    found = read(write_archive(tmp_path / "f.zip", 40, **{"digits/0/again.png": png(images[0])}))
    copies = found.copies()
    assert (copies != np.arange(len(copies))).sum() == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "no array called 'x'"),
        ({"x": np.zeros((3, 8, 8), np.uint8)}, "no array 'y'"),
        ({"x": np.zeros((3, 8), np.uint8), "y": [0, 1, 0]}, r"images are \[N, H, W\]"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": [0, 1]}, "3 images and 2 labels"),
        ({"x": np.full((3, 8, 8), -1.0), "y": [0, 1, 0]}, "0 to 255"),
        ({"x": np.full((3, 8, 8), np.nan), "y": [0, 1, 0]}, "0 to 255"),
        ({"x": np.zeros((3, 8, 8), complex), "y": [0, 1, 0]}, "complex128"),
        ({"x": np.zeros((8, 8, 8), np.uint8), "y": np.zeros(8)}, "one whole number"),
        ({"x": np.zeros((8, 8, 8), np.uint8), "y": np.zeros(8, int)}, "at least two"),
        ({"x": np.zeros((8, 8, 8), np.uint8), "y": [0] * 7 + [1]}, "class '1'.*1 readable"),
    ],
)
def test_arrays_that_are_no_set_are_refused_in_one_sentence(read, tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InvalidData, match=message) as caught:
        read(tmp_path / "d.npz")
    assert "\n" not in caught.value.message


def test_floats_between_0_and_1_are_pixels(read, tmp_path):
    images, labels = digit_arrays(60)
    np.savez(tmp_path / "d.npz", images=images / np.float32(255), labels=[f"d{label}" for label in labels])
    found = read(tmp_path / "d.npz")
    np.testing.assert_array_equal(found.pixels[..., 0], images)
    assert found.classes[0] == "d0"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds no images"),
        ({"a.png": b"x"}, "outside of any folder"),
        ({"a/train-images-idx3-ubyte": b"xx"}, "without its labels"),
        ({"a/train-images-idx3-ubyte": b"xx", "a/train-labels-idx1-ubyte": b""}, "damaged IDX"),
        ({"a/t-images-idx3-ubyte": idx(np.zeros((2, 2, 2)))[:-1], "a/t-labels-idx1-ubyte": idx(np.zeros(2))}, "promises 8 bytes and has 7"),
        ({"a/t-images-idx3-ubyte": idx(np.zeros((2, 2, 2)), 13), "a/t-labels-idx1-ubyte": b""}, "IDX of type 13"),
    ],
)
def test_archives_that_are_no_set_are_refused_in_one_sentence(read, tmp_path, members, message):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidData, match=message):
        read(tmp_path / "f.zip")


def test_what_is_no_archive_is_refused(read, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidData, match="no set of images"):
        read(tmp_path / "t.csv")
