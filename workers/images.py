"""Bytes of a picture as the array a model sees, the same way in training and in serving. Pillow and numpy only."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from workers.contract import ProgramFailure

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MIN_SIDE = 2
RESIZE = "bilinear, squash"
WHITE = (255, 255, 255, 255)
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
GREY_MODES = ("1", "L", *WIDE_MODES)
GREY_PROBE_SIDE = 64


def decode(body: bytes, height: int, width: int, channels: int) -> np.ndarray:
    """The picture in `body` as uint8 [height, width, channels], upright, squashed to that size with antialiasing.

    `channels` is 1 (grey) or 3 (RGB); transparent parts become white. Raises ProgramFailure with code empty_body,
    undecodable_image, image_too_large or image_too_small.
    """
    image = _load(body, "L" if channels == 1 else "RGB", max(height, width))
    image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image, dtype=np.uint8).reshape(height, width, channels)


def is_grey(body: bytes) -> bool:
    """Whether the picture has no colour, even if it is stored with three channels. Raises as `decode` does."""
    if _open(body).mode in GREY_MODES:
        return True
    pixels = decode(body, GREY_PROBE_SIDE, GREY_PROBE_SIDE, 3).astype(np.int16)
    return bool(np.ptp(pixels, axis=2).max() <= 2)


def _load(body: bytes, mode: str, side: int) -> Image.Image:
    image = _open(body)
    try:
        # Lets the JPEG decoder skip what a smaller picture does not need; other formats ignore it.
        image.draft(mode, (side, side))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _in_mode(image, mode)
    except Exception as error:  # Damaged files make Pillow's decoders raise nearly anything.
        raise _undecodable() from error


def _open(body: bytes) -> Image.Image:
    """The picture with only its header read and its size checked."""
    if not body:
        raise ProgramFailure("empty_body", "The image is empty.", hint="Send the bytes of an image file.")
    try:
        image = Image.open(BytesIO(body), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large("more than 178 megapixels") from error
    except Exception as error:  # As above: a damaged header is met here.
        raise _undecodable() from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} x {height} pixels")
    if min(width, height) < MIN_SIDE:
        message = f"The image has {width} x {height} pixels; each side needs at least {MIN_SIDE}."
        raise ProgramFailure("image_too_small", message, hint="Send a larger image.")
    return image


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in WIDE_MODES:
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    if image.mode == "P":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 16 or 32 bits as uint8: integers keep their 16-bit scale, fractions up to 1 are stretched to 255."""
    values = np.nan_to_num(pixels.astype(np.float64))
    if pixels.dtype.kind != "f":
        values /= 257
    elif values.max() <= 1:
        values *= 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _undecodable() -> ProgramFailure:
    names = ", ".join(FORMATS)
    message = f"The image cannot be read: it is damaged or not one of {names}."
    return ProgramFailure("undecodable_image", message, hint="Open it in a viewer and save it as PNG or JPEG.")


def _too_large(size: str) -> ProgramFailure:
    message = f"The image has {size}; at most {MAX_PIXELS // 10**6} megapixels are read."
    return ProgramFailure("image_too_large", message, hint="Make the image smaller and send it again.")
