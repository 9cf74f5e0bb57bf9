"""Example data sets, made from what scikit-learn carries along: ``python -m workers.examples digits out.zip``.

digits: 1,797 handwritten digits of 8 x 8 pixels, one folder of PNG files per class. The same bytes every time.
"""

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

BRIGHTEST = 16  # load_digits counts dark pixels in blocks of 4 x 4
DATE = (2020, 1, 1, 0, 0, 0)


def digit_images() -> Iterator[tuple[str, bytes]]:
    """(path in the archive, PNG) of each digit: "digits/7/0007.png"."""
    digits = load_digits()
    pixels = np.round(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    for number, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        yield f"digits/{label}/{number:04d}.png", encode_png(image)


def encode_png(pixels: np.ndarray) -> bytes:
    """`pixels`: uint8, (height, width)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(members: Iterator[tuple[str, bytes]], path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, DATE), content)


EXAMPLES = {"digits": digit_images}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in EXAMPLES:
        print(f"usage: python -m workers.examples {{{','.join(EXAMPLES)}}} out.zip", file=sys.stderr)
        return 2
    write_zip(EXAMPLES[arguments[0]](), Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
