"""Turn what people hold in their hands into the bytes of a picture, with the standard library alone."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any


def to_bytes(image: Any) -> bytes:
    """A path, bytes, an open file, a PIL image, or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].

    Raises TypeError or ValueError that says what is accepted, and OSError for a path that cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    if hasattr(image, "__array_interface__") and not hasattr(image, "save"):
        return array_to_png(image)
    if hasattr(image, "save"):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    if hasattr(image, "read"):
        return image.read()
    raise TypeError(f"{type(image).__name__} is not a picture: give a path, bytes, a PIL image or a uint8 array")


def array_to_png(array: Any) -> bytes:
    """Encode a uint8 array as PNG (RFC 2083)."""
    shape = tuple(array.shape)
    if str(array.dtype) != "uint8":
        raise ValueError(f"the array is {array.dtype}; it must be uint8 with values from 0 to 255")
    channels = 1 if len(shape) == 2 else shape[-1]
    if len(shape) not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(f"the array has shape {shape}; it must be [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]")
    height, width = shape[:2]
    raw, stride = array.tobytes(), width * channels
    lines = b"".join(b"\0" + raw[row * stride : (row + 1) * stride] for row in range(height))
    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
