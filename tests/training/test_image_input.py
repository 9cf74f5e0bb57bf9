"""Pictures of every kind become the same arrays in training and in serving; what is none is refused in a sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from workers.contract import ProgramFailure
from workers.images import FORMATS, decode, is_grey

RAMP = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) % 256
GREY = RAMP.astype(np.uint8)


def encode(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    body = io.BytesIO()
    image.save(body, format_, **options)
    return body.getvalue()


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_read(format_: str) -> None:
    body = encode(Image.fromarray(np.full((20, 20, 3), 200, np.uint8)), format_)
    assert np.abs(decode(body, 8, 6, 3).astype(int) - 200).max() <= 2
    assert decode(body, 8, 6, 1).shape == (8, 6, 1)
    assert is_grey(body)


def test_pixels_are_untouched_at_their_own_size_whatever_the_mode() -> None:
    grey = Image.fromarray(GREY)
    modes = [grey, grey.convert("P"), grey.convert("LA"), grey.convert("RGBA"), Image.fromarray(RAMP * 257)]
    for image in modes:
        assert np.array_equal(decode(encode(image), 40, 30, 1)[..., 0], GREY), image.mode
        assert np.array_equal(decode(encode(image), 40, 30, 3)[..., 2], GREY), image.mode
        assert is_grey(encode(image)), image.mode


def test_transparent_parts_are_white() -> None:
    half = Image.new("RGBA", (10, 10), (255, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 10, 5))
    pixels = decode(encode(half), 10, 10, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[9, 9].tolist() == [255, 0, 0]


def test_fractions_are_stretched_and_whole_numbers_kept() -> None:
    assert decode(encode(Image.new("F", (4, 4), 0.4), "TIFF"), 4, 4, 1).max() == 102
    assert decode(encode(Image.new("F", (4, 4), 40.0), "TIFF"), 4, 4, 1).max() == 40


def test_the_camera_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter
    lower = np.zeros((40, 20), np.uint8)
    lower[20:] = 255
    pixels = decode(encode(Image.fromarray(lower), "JPEG", exif=exif, quality=95), 20, 40, 1)[..., 0]
    assert pixels[:, :10].min() > 200
    assert pixels[:, 30:].max() < 50


def test_a_large_jpeg_at_reduced_scale_is_close_to_the_whole_one() -> None:
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((1600, 1200))
    whole = np.asarray(smooth.resize((64, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(encode(smooth, "JPEG", quality=95), 48, 64, 3).astype(int) - whole).mean() < 3


def test_colour_is_seen_even_where_it_is_small() -> None:
    image = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    image.paste((200, 20, 20), (10, 10, 20, 20))
    assert not is_grey(encode(image))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"just text", "undecodable_image"),
        (encode(Image.fromarray(GREY))[:80], "undecodable_image"),
        (encode(Image.fromarray(GREY), "JPEG")[:300], "undecodable_image"),
        (encode(Image.new("L", (1, 1))), "image_too_small"),
        (encode(Image.new("L", (100, 1))), "image_too_small"),
        (encode(Image.new("1", (8000, 7000))), "image_too_large"),
        (encode(Image.fromarray(GREY), "PPM"), "undecodable_image"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_code_and_a_hint(body: bytes, code: str) -> None:
    with pytest.raises(ProgramFailure) as caught:
        decode(body, 8, 8, 1)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert caught.value.hint
