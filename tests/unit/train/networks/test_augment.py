import pytest
import torch

from modelyard.train.networks.augment import augment
from modelyard.train.recipes.images import Augmentation

IMAGES = torch.arange(4 * 3 * 6 * 8, dtype=torch.float32).reshape(4, 3, 6, 8) % 251


def varied(seed=0, images=IMAGES, **wanted):
    return augment(images, Augmentation(**wanted), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "wanted",
    [
        {"flip": "both"},
        {"rotation": 30},
        {"crop": 0.3},
        {"shift": 0.2},
        {"colour": 0.4},
        {"flip": "horizontal", "rotation": 5, "colour": 0.1},
    ],
)
def test_the_same_seed_varies_the_same_way_and_stays_in_range(wanted):
    first = varied(**wanted)
    assert torch.equal(first, varied(**wanted))
    assert not torch.equal(first, varied(1, **wanted))
    assert first.shape == IMAGES.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 255


def test_flips_mirror_whole_images():
    for image, original in zip(varied(2, flip="horizontal"), IMAGES, strict=True):
        assert torch.equal(image, original) or torch.equal(image, original.flip(2))


def test_a_quarter_turn_is_one_for_square_images():
    square = IMAGES[:, :, :6, :6]
    random = torch.Generator().manual_seed(0)
    angle = (torch.rand(4, generator=random) * 2 - 1) * 180
    turned = varied(0, images=square, rotation=180)
    for image, original, degrees in zip(turned, square, angle.tolist(), strict=True):
        nearest = round(degrees / 90) % 4
        candidates = [float((image - torch.rot90(original, turns, (1, 2))).abs().mean()) for turns in range(4)]
        if abs(degrees / 90 - round(degrees / 90)) < 0.1:
            assert min(range(4), key=candidates.__getitem__) in {nearest, -nearest % 4}


def test_nothing_wanted_is_nothing_done():
    assert torch.equal(varied(), IMAGES)


def test_grey_images_have_no_saturation():
    grey = IMAGES[:, :1]
    assert augment(grey, Augmentation(colour=0.3), torch.Generator().manual_seed(0)).shape == grey.shape
