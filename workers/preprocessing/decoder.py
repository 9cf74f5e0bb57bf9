"""The child that decodes images made by strangers. Started by path in isolated mode, so it imports nothing of ours.

``python -I decoder.py '{"max_pixels": ..., "memory_bytes": ..., "cpu_seconds": ..., "thumbnail_pixels": ...,
"glance_pixels": ...}'`` writes "ready" and then answers requests on stdin until it closes. A request is one JSON line
``{"mode": "check"|"thumbnail", "sizes": [...]}`` and then the bytes of the images; the answer is one JSON line with a
list of ``{"format", "width", "height", "bytes"}`` or ``{"code", "reason"}``, one per image, then the PNG bytes of the
thumbnails, or what `glance` makes of each image of a check.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image, ImageOps

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


Answer = Callable[[str, bytes, dict[str, int]], tuple[dict[str, Any], bytes]]


class BadImage(Exception):
    """Why an image cannot be used: (code, reason)."""


def format_of(data: bytes) -> str:
    """The format that the first bytes show. Raises BadImage."""
    if not data:
        raise BadImage("empty_file", "the file is empty")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, name in SIGNATURES:
        if data.startswith(signature):
            return name
    raise BadImage("not_an_image", f"not an image: its content is {content_of(data[:512])}")


def content_of(head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    if head.startswith(b"%PDF"):
        return "a PDF document"
    is_text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return "text" if is_text else "of an unknown kind"


def load(data: bytes) -> Image.Image:
    """The first frame of an image, wholly decoded. Raises BadImage."""
    kind = format_of(data)
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS or 0
        raise BadImage("image_too_large", f"more than {limit:,} pixels: make it smaller") from error
    except MemoryError as error:
        raise BadImage("image_too_large", "decoding it takes too much memory") from error
    except Exception as error:  # a decoder may raise anything on hostile bytes
        detail = str(error)[:160] or type(error).__name__
        raise BadImage("broken_image", f"cannot be decoded as {kind}: {detail}") from error
    return image


def thumbnail(image: Image.Image, pixels: int) -> bytes:
    """PNG bytes, RGB, at most `pixels` wide and high."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = rescale_depth(image)
    image = ImageOps.exif_transpose(image)
    image.thumbnail((pixels, pixels))
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return out.getvalue()


def glance(image: Image.Image, pixels: int) -> bytes:
    """uint8 [pixels, pixels, 3] in RGB: enough to compare images; empty where this cannot be made of one."""
    try:
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            image = rescale_depth(image)
        return image.convert("RGB").resize((pixels, pixels), Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes()
    except Exception:  # as in `load`: nothing that strangers wrote may end the check
        return b""


def rescale_depth(image: Image.Image) -> Image.Image:
    """8-bit grey levels of a deeper image: a plain conversion would clip nearly everything to white."""
    image = image.convert("F")
    low, high = image.getextrema()
    span = (high - low) or 1.0
    return image.point(lambda value: value * (255.0 / span) - low * 255.0 / span).convert("L")


def answer(mode: str, data: bytes, options: dict[str, int]) -> tuple[dict[str, Any], bytes]:
    try:
        image = load(data)
        fact = {"format": image.format, "width": image.width, "height": image.height, "bytes": 0}
        make, option = (thumbnail, "thumbnail_pixels") if mode == "thumbnail" else (glance, "glance_pixels")
        body = make(image, options[option])
    except BadImage as error:
        code, reason = error.args
        return {"code": code, "reason": reason}, b""
    return fact | {"bytes": len(body)}, body


def set_limit(kind: int, value: int) -> None:
    """Lower a soft limit where the system knows it: macOS refuses RLIMIT_AS."""
    hard = resource.getrlimit(kind)[1]
    try:
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (ValueError, OSError):
        print(f"resource limit {kind} could not be set", file=sys.stderr)


def confine(options: dict[str, int]) -> None:
    set_limit(resource.RLIMIT_AS, options["memory_bytes"])
    set_limit(resource.RLIMIT_CORE, 0)


def serve(options: dict[str, int], requests: BinaryIO, answers: BinaryIO, answer: Answer) -> None:
    """Answer requests with `answer`, of (mode, bytes of a file, options), until they end."""
    answers.write(b"ready\n")
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        files = [requests.read(size) for size in request["sizes"]]
        set_limit(resource.RLIMIT_CPU, int(time.process_time()) + options["cpu_seconds"])
        results = [answer(request["mode"], data, options) for data in files]
        answers.write(json.dumps([fact for fact, _ in results]).encode() + b"\n")
        answers.writelines(body for _, body in results)
        answers.flush()


def main() -> None:
    options = json.loads(sys.argv[1])
    confine(options)
    Image.MAX_IMAGE_PIXELS = options["max_pixels"]
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    serve(options, sys.stdin.buffer, sys.stdout.buffer, answer)


if __name__ == "__main__":
    main()
